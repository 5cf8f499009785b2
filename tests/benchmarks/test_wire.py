"""The frames of the load generator's connection, against a peer that does what servers may and libraries seldom do."""

import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.headers import UNKNOWN, timeout_header
from benchmarks.serving import METHOD
from benchmarks.wire import DEADLINE_EXCEEDED, OK, Call, Connection, Ended

DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
MAX_STREAMS, INITIAL_WINDOW = 3, 4
STATUS_OK = b"\x88"  # :status 200
GRPC_OK = b"\x00\x0bgrpc-status\x010"


class Peer:
    """The server's side, frame by frame."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._read = end.makefile("rb")

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self._socket.sendall(struct.pack(">BHBBI", 0, len(payload), kind, flags, stream) + payload)

    def skip(self, count: int) -> None:
        """What a client says before its first frame."""
        assert len(self._read.read(count)) == count

    def sent_by(self, connection: Connection) -> list[tuple[int, int, int]]:
        """Kind, flags and stream of all that the client sends now, but for its settings and their like."""
        connection.send()
        self.send(PING, payload=bytes(8))
        assert ended_by(connection) == []
        connection.send()
        frames = []
        while True:
            high, low, kind, flags, stream = struct.unpack(">BHBBI", self._read.read(9))
            self._read.read(high << 16 | low)
            if kind == PING:
                return frames
            if kind in {DATA, HEADERS, RST_STREAM}:
                frames.append((kind, flags, stream))

    def close(self) -> None:
        self._read.close()
        self._socket.close()


@contextmanager
def connected(*settings: tuple[int, int], timeout: float | None) -> Iterator[tuple[Connection, Peer]]:
    """A connection whose calls have so much time, and the other end of it, which has these settings."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(f"127.0.0.1:{listener.getsockname()[1]}", METHOD, b"message", timeout)
        peer = Peer(listener.accept()[0])
    peer.send(SETTINGS, payload=b"".join(struct.pack(">HI", *setting) for setting in settings))
    peer.send(SETTINGS, ACK)
    try:
        with connection:
            peer.skip(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            yield connection, peer
    finally:
        peer.close()


def called(connection: Connection, peer: Peer, number: int = 0) -> list[tuple[int, int, int]]:
    """Makes one more call; gives what goes out."""
    connection.put(Call(number, time.perf_counter()))
    return peer.sent_by(connection)


def ended_by(connection: Connection) -> list[Ended]:
    """What the next piece from the peer ends."""
    select.select([connection], (), ())
    return list(connection.receive())


def test_a_call_that_expired_is_forgotten_without_a_reset():
    """Servers hang up on a client that resets many streams."""
    with connected(timeout=0.0) as (connection, peer):
        assert called(connection, peer) == [(HEADERS, END_HEADERS, 1), (DATA, END_STREAM, 1)]
        assert [ended.code for ended in connection.expire()] == [DEADLINE_EXCEEDED]
        assert not connection.busy
        assert peer.sent_by(connection) == []
        peer.send(HEADERS, END_HEADERS | END_STREAM, 1, GRPC_OK)
        assert ended_by(connection) == []


def test_a_call_that_expires_while_its_message_is_on_its_way_is_reset():
    with connected((INITIAL_WINDOW, 4), timeout=0.0) as (connection, peer):
        assert called(connection, peer) == [(HEADERS, END_HEADERS, 1), (DATA, 0, 1)]
        assert [ended.code for ended in connection.expire()] == [DEADLINE_EXCEEDED]
        assert peer.sent_by(connection) == [(RST_STREAM, 0, 1)]


@pytest.mark.parametrize("end", [(HEADERS, END_HEADERS | END_STREAM, 1, GRPC_OK), (RST_STREAM, 0, 1, bytes(4))])
def test_a_forgotten_call_keeps_its_place_at_the_server_until_this_ends_it(end):
    with connected((MAX_STREAMS, 1), timeout=0.0) as (connection, peer):
        called(connection, peer)
        assert len(list(connection.expire())) == 1
        assert called(connection, peer, 1) == []
        peer.send(*end)
        assert ended_by(connection) == []
        assert peer.sent_by(connection) == [(HEADERS, END_HEADERS, 3), (DATA, END_STREAM, 3)]


@pytest.mark.parametrize(("last", "code"), [(HEADERS, OK), (DATA, UNKNOWN)])
def test_a_stream_that_ends_ends_its_call_whatever_its_last_frame_is(last, code):
    with connected(timeout=None) as (connection, peer):
        called(connection, peer, 7)
        peer.send(HEADERS, END_HEADERS, 1, STATUS_OK)
        assert ended_by(connection) == []
        peer.send(last, END_HEADERS | END_STREAM if last == HEADERS else END_STREAM, 1, GRPC_OK)
        assert [(ended.call.number, ended.code) for ended in ended_by(connection)] == [(7, code)]
        assert not connection.busy
        assert peer.sent_by(connection) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, b"1u"), (0.05, b"50000u"), (99.5, b"99500000u"), (100.0, b"100000m"), (3600.0, b"3600000m")],
)
def test_a_deadline_is_told_in_eight_digits_at_most(seconds, told):
    assert timeout_header(seconds).endswith(bytes((len(told),)) + told)
