"""One HTTP/2 connection that makes one gRPC call over and over: the `frames` that this takes and no more.

A client library may cost as much a call as the server under measurement; here what repeats is prepared once, and a
message goes out in pieces of one buffer. Both sides' flow control and the server's limit of open streams are kept. The
invariant: every call that was put in ends in exactly one `Ended`. One thread owns a connection; it is never blocked.
Called by `arrivals` and `caller`. Source: RFC 9113.
"""

import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from benchmarks import frames, headers

OK: Final = 0
DEADLINE_EXCEEDED: Final = 4

# What gRPC makes of a reset stream; everything else is INTERNAL.
_RESETS: Final = {0x7: 14, frames.CANCEL: 1, 0xB: 8, 0xC: 7}
_INTERNAL: Final = 13

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FIRST_WINDOW: Final = 65535
_WINDOW: Final = 1 << 24  # for answers: of a stream, and of the connection, which is filled up again at the half
_PIECES: Final = 64  # in one system call
_RECEIVE_BYTES: Final = 1 << 18
_HANDSHAKE_SECONDS: Final = 10


@dataclass(slots=True)
class Call:
    """A call: its number for the caller, when it was due and, once it began to go out, when that was and its stream.

    Times are of `time.perf_counter`.
    """

    number: int
    due: float
    sent: float = 0.0
    stream: int = 0


class Ended(NamedTuple):
    """The end of a call: its gRPC code and when it was known."""

    call: Call
    code: int
    at: float


class Connection:
    """Makes calls of `path` with `message`, each with `timeout` seconds from when it was due, or as long as it takes.

    A context. Raises OSError where nothing listens, and RuntimeError where the server hangs up or is not understood.
    """

    def __init__(self, address: str, path: str, message: bytes, timeout: float | None) -> None:
        """Connects."""
        self._headers = headers.request_headers(path, address)
        self._body = memoryview(b"\0" + len(message).to_bytes(4, "big") + message)
        self._timeout = timeout
        self._waiting: deque[Call] = deque()
        self._open: dict[int, Call] = {}
        self._forgotten: set[int] = set()  # streams whose call has ended, which the server has not ended yet
        self._unsent: deque[bytes | memoryview] = deque()
        self._reader = frames.Reader()
        self._next_stream = 1
        self._sending = 0  # the stream whose message is on its way, 0 between two
        self._left = memoryview(b"")  # and what of it is not framed yet
        self._stream_window = self._initial_window = self._window = _FIRST_WINDOW
        self._streams_limit = 1 << 31
        self._consumed = 0
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_HANDSHAKE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        """Waits for the server's settings."""
        try:
            self._greet()
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Hangs up."""
        self._socket.close()

    def fileno(self) -> int:
        """The socket's, for `select`."""
        return self._socket.fileno()

    @property
    def busy(self) -> bool:
        """Whether any call has not ended."""
        return bool(self._open or self._waiting)

    @property
    def blocked(self) -> bool:
        """Whether there is something to write that the socket did not take."""
        return bool(self._unsent)

    @property
    def expires(self) -> float:
        """When the oldest call's time is over; infinite where no call has a deadline."""
        if self._timeout is None or not self.busy:
            return float("inf")
        oldest = next(iter(self._open.values())) if self._open else self._waiting[0]
        return oldest.due + self._timeout

    def put(self, call: Call) -> None:
        """Takes a call, due no earlier than those before it; `send` lets it go out."""
        self._waiting.append(call)

    def send(self) -> None:
        """Writes what windows, the limit of streams and the socket take now."""
        while True:
            if not self._unsent:
                self._frame_message()
            if not self._unsent:
                return
            pieces = [self._unsent[number] for number in range(min(_PIECES, len(self._unsent)))]
            try:
                written = self._socket.sendmsg(pieces)
            except BlockingIOError:
                return
            while written:
                piece = self._unsent.popleft()
                if written < len(piece):
                    self._unsent.appendleft(memoryview(piece)[written:])
                    break
                written -= len(piece)

    def expire(self) -> Iterator[Ended]:
        """Ends the calls whose time is over, those that never went out too."""
        now = time.perf_counter()
        while self.expires <= now:
            if self._open:
                call = next(iter(self._open.values()))
                self._forget(call.stream)
            else:
                call = self._waiting.popleft()
                call.sent = now
            yield Ended(call, DEADLINE_EXCEEDED, now)

    def receive(self) -> Iterator[Ended]:
        """Reads what has come, and gives the calls that it ends."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise RuntimeError("the server closed the connection")
        now = time.perf_counter()
        for kind, flags, stream, payload in self._reader.frames(data):
            code = None
            if kind == frames.HEADERS:
                code = self._status(flags, payload)
            elif kind == frames.DATA:
                self._consume(len(payload))
            elif kind == frames.RST_STREAM:
                code = _RESETS.get(frames.NUMBER.unpack(payload)[0], _INTERNAL)
                self._forget_message(stream)
            else:
                self._control(kind, flags, stream, payload)
                continue
            if (kind == frames.RST_STREAM or flags & frames.END_STREAM) and (call := self._close(stream)):
                yield Ended(call, headers.UNKNOWN if code is None else code, now)

    def _greet(self) -> None:
        wishes = ((frames.HEADER_TABLE_SIZE, 0), (frames.ENABLE_PUSH, 0), (frames.INITIAL_WINDOW, _WINDOW))
        settings = b"".join(frames.SETTING.pack(*wish) for wish in wishes)
        more = frames.NUMBER.pack(_WINDOW - _FIRST_WINDOW)
        self._socket.sendall(
            _PREFACE + frames.framed(frames.SETTINGS, 0, 0, settings) + frames.framed(frames.WINDOW_UPDATE, 0, 0, more)
        )
        greeted = acknowledged = False
        while not (greeted and acknowledged):
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise RuntimeError("the server closed the connection at once; does it speak gRPC without TLS?")
            for kind, flags, stream, payload in self._reader.frames(data):
                acknowledged |= kind == frames.SETTINGS and bool(flags & frames.ACK)
                greeted |= kind == frames.SETTINGS and not flags & frames.ACK
                self._control(kind, flags, stream, payload)
            self._socket.sendall(b"".join(self._unsent))
            self._unsent.clear()
        self._socket.setblocking(False)

    def _frame_message(self) -> None:
        """Makes frames of the message on its way, or of the next call's, as far as the windows go."""
        if not self._sending:
            streams = len(self._open) + len(self._forgotten)
            if not self._waiting or streams >= self._streams_limit or not self._window:
                return
            self._frame_headers(self._waiting.popleft())
        while self._sending:
            most = min(frames.FRAME_BYTES, self._window, self._stream_window)
            if most <= 0:
                return
            piece, self._left = self._left[:most], self._left[most:]
            self._window -= len(piece)
            self._stream_window -= len(piece)
            self._unsent += (
                frames.head(len(piece), frames.DATA, 0 if self._left else frames.END_STREAM, self._sending),
                piece,
            )
            if not self._left:
                self._sending = 0

    def _frame_headers(self, call: Call) -> None:
        call.sent, call.stream = time.perf_counter(), self._next_stream
        self._next_stream += 2
        block = self._headers
        if self._timeout is not None:
            block += headers.timeout_header(call.due + self._timeout - call.sent)
        self._unsent.append(frames.framed(frames.HEADERS, frames.END_HEADERS, call.stream, block))
        self._open[call.stream] = call
        self._sending, self._left, self._stream_window = call.stream, self._body, self._initial_window

    def _status(self, flags: int, block: bytes) -> int | None:
        if not flags & frames.END_HEADERS or flags & (frames.PADDED | frames.PRIORITY):
            raise RuntimeError("the server's headers come in pieces or padded, which this generator does not read")
        return headers.status(block)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.SETTINGS and not flags & frames.ACK:
            for name, value in frames.SETTING.iter_unpack(payload):
                self._obey(name, value)
            self._unsent.append(frames.framed(frames.SETTINGS, frames.ACK, 0, b""))
        elif kind == frames.PING and not flags & frames.ACK:
            self._unsent.append(frames.framed(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW_UPDATE:
            (more,) = frames.NUMBER.unpack(payload)
            if not stream:
                self._window += more
            elif stream == self._sending:
                self._stream_window += more
        elif kind == frames.GOAWAY:
            raise RuntimeError(f"the server ends the connection: {payload[8:].decode(errors='replace')}")

    def _obey(self, setting: int, value: int) -> None:
        if setting == frames.MAX_STREAMS:
            self._streams_limit = value
        elif setting == frames.INITIAL_WINDOW:
            self._stream_window += value - self._initial_window
            self._initial_window = value

    def _consume(self, size: int) -> None:
        self._consumed += size
        if self._consumed >= _WINDOW // 2:
            self._unsent.append(frames.framed(frames.WINDOW_UPDATE, 0, 0, frames.NUMBER.pack(self._consumed)))
            self._consumed = 0

    def _forget(self, stream: int) -> None:
        """Waits for this stream no longer.

        The server knows the deadline and ends the stream by itself, so only a message on its way is worth a reset:
        servers hang up on clients that reset many streams.
        """
        del self._open[stream]
        if stream == self._sending:
            self._cut_off()
        else:
            self._forgotten.add(stream)

    def _close(self, stream: int) -> Call | None:
        """The server has ended this stream; gives the call that ends with it."""
        self._forgotten.discard(stream)
        if stream == self._sending:
            self._cut_off()
        return self._open.pop(stream, None)

    def _cut_off(self) -> None:
        """Tells the server that nothing more comes of the message on its way."""
        self._unsent.append(frames.framed(frames.RST_STREAM, 0, self._sending, frames.NUMBER.pack(frames.CANCEL)))
        self._sending = 0

    def _forget_message(self, stream: int) -> None:
        if stream == self._sending:
            self._sending = 0
