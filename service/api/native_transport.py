"""gRPC by pygrpc-native: HTTP/2 and framing in Rust outside the GIL, a burst of calls taken in one step.

Only Classify is served this way, with no task and no context a call; every other method goes, unseen by the caller, to
a grpcio server behind the front on a Unix socket. What the front can't do at all (ageing connections) is refused by
`service.server`, which then takes grpcio for `--transport auto`.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
from google.protobuf.message import DecodeError
from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from service.api import encoding, ports
from service.api.classifier import SERVICE
from service.api.repeats import Repeats
from service.api.status import Guard, outcome, trailers
from service.config import MEBIBYTE, Settings
from service.doors import Doors, grpc_target
from service.errors import ModelNotReady, RequestInvalid
from service.inference.call import Call
from service.inference.dataplane import DataPlane
from service.inference.values import Answer

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent

METHOD = "Classify"
METHODS = [(f"/{SERVICE}/{METHOD}", False)]
EVENTS_AT_ONCE = 256
IO_THREADS = 1
LOOK_SECONDS = 0.01
QUIET_LOOKS = 5


class NativeTransport:
    """The front, its dispatching thread, and the grpcio server behind it. Belongs to the event loop."""

    name = "native"

    def __init__(
        self,
        settings: Settings,
        data_plane: DataPlane,
        guard: Guard,
        behind: grpc.aio.Server,
        *,
        shared: bool = False,
    ) -> None:
        """Listens. Raises SettingsError when the port can't be had. `behind` has no port of its own yet.

        A `shared` port is one that other processes listen on too.
        """
        self.guard = guard
        self._data_plane = data_plane
        self._limit = settings.max_message_mb * MEBIBYTE
        self._behind = behind
        self._replies: dict[int, _Reply] = {}
        self._repeats = Repeats()
        self._loop = asyncio.get_running_loop()
        if not shared:
            ports.check(settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            self.front = NativeGrpcFront(
                f"{host}:{settings.port}", METHODS, IO_THREADS, call_details=True, reuse_port=shared
            )
        except OSError as error:
            raise ports.refused(settings.host, settings.port) from error
        self.port = self.front.bound_port

    async def start(self) -> None:
        """Answers calls from now on."""
        self._doors = Doors()  # not before: where it makes a folder, a start-up mistake would leave it there
        door = self._doors.address("behind")
        self._behind.add_insecure_port(grpc_target(door))
        await self._behind.start()
        self.front.set_fallback(door)
        self.front.start()
        threading.Thread(target=self._receive, name="convoy-native", daemon=True).start()

    async def stop(self, grace: float) -> None:
        """Closes, once the guard is closed and calls are answered; what still runs after `grace` seconds is dropped."""
        latest = time.monotonic() + grace
        await self._behind.stop(grace)
        for reply in list(self._replies.values()):
            reply.leave()
        await _sent(self.port, latest)
        await asyncio.to_thread(self.front.close)
        self._doors.close()

    def forget(self, number: int) -> None:
        """The reply to a call was given."""
        self._replies.pop(number, None)

    def _receive(self) -> None:
        """The dispatching thread: bursts of events to the loop, until the front is closed."""
        while (events := self.front.recv_batch_details(EVENTS_AT_ONCE)) is not None:
            try:
                self._loop.call_soon_threadsafe(self._take, events)
            except RuntimeError:  # the loop is closed
                return

    def _take(self, events: "list[DetailedEvent]") -> None:
        for kind, number, _, payload, _, details in events:
            if kind == EVENT_CANCEL:
                reply = self._replies.get(number)
                if reply is not None:
                    reply.leave()
            else:
                self._begin(number, payload or b"", details[2] if details else None)

    def _begin(self, number: int, payload: bytes, seconds_left: float | None) -> None:
        try:
            reply = self._replies[number] = _Reply(self, number, self.guard.accept(METHOD))
        except ModelNotReady as error:
            code, sentence = outcome(METHOD, error)
            self.front.fail(number, code.value[0], sentence)
            return
        if len(payload) > self._limit:
            reply.end(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the call has {len(payload):,} bytes, over the limit of {self._limit:,} (--max-message-mb); split it",
            )
            return
        try:
            request, reply.id = self._repeats.parse(payload, seconds_left)
            call = self._data_plane.begin(request, reply)
            reply.call = None if reply.done() else call
        except DecodeError:
            reply.failed(RequestInvalid("the call's bytes are not a ClassifyRequest"))
        except Exception as error:
            reply.failed(error)


class _Reply:
    """The reply to one call of the front, given exactly once."""

    __slots__ = ("_began", "_ended", "_number", "_transport", "call", "id")

    def __init__(self, transport: NativeTransport, number: int, began: float) -> None:
        self._transport = transport
        self._number = number
        self._began = began
        self._ended = False
        self.call: Call | None = None
        self.id = 0

    def done(self) -> bool:
        return self._ended

    def answered(self, answer: Answer) -> None:
        try:
            payload = encoding.response(answer, self.id)
        except Exception as error:
            self.failed(error)
        else:
            if self._close(grpc.StatusCode.OK):
                self._transport.front.respond(self._number, payload)

    def failed(self, error: Exception) -> None:
        self.end(*outcome(METHOD, error), trailers(error))

    def end(self, code: grpc.StatusCode, sentence: str, metadata: Sequence[tuple[str, bytes]] = ()) -> None:
        """Ends the call with a status and trailing metadata."""
        if self._close(code):
            self._transport.front.fail(self._number, code.value[0], sentence, metadata or None)

    def leave(self) -> None:
        """The caller left or its deadline passed: nothing more is done for it."""
        call = self.call
        if self._close(grpc.StatusCode.CANCELLED) and call is not None:
            call.cancel()

    def _close(self, code: grpc.StatusCode) -> bool:
        """Counts the call as over; False where it was before."""
        if self._ended:
            return False
        self._ended = True
        self.call = None  # reply and call know each other: apart, they and the version go without the collector
        self._transport.forget(self._number)
        self._transport.guard.ended(METHOD, code, self._began)
        return True


async def _sent(port: int, latest: float) -> None:
    """Returns when slow readers have what was sent to them: the front does not tell, and drops the rest as it closes.

    Several quiet looks in a row, because between two windows of HTTP/2 the kernel has nothing to send for a moment.
    """
    quiet = 0
    while quiet < QUIET_LOOKS and time.monotonic() < latest:
        quiet = 0 if _sending(port) else quiet + 1
        await asyncio.sleep(LOOK_SECONDS)


def _sending(port: int) -> bool:
    """Whether bytes from this port are in the kernel that their reader's machine has not taken. Only Linux tells."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                _, local, _, _, queues, *_ = line.split()
                if local.endswith(f":{port:04X}") and not queues.startswith("00000000:"):
                    return True
    return False
