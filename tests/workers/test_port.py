"""The port of the workers: kept from every other server, open to the workers, free again afterwards."""

import socket
from collections.abc import Iterator

import pytest
from servers import LOCALHOST

from service.errors import SettingsError
from service.workers.port import reserve


def listening(port: int, *, shared: bool) -> socket.socket:
    """A socket as a server of the one kind or the other makes it. Raises OSError where the port can't be had."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        made.bind((LOCALHOST, port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@pytest.fixture
def port() -> Iterator[int]:
    guard, number = reserve(LOCALHOST, 0)
    with guard:
        yield number


def test_workers_listen_and_the_guard_takes_none_of_their_connections(port):
    with listening(port, shared=True) as one, listening(port, shared=True) as other:
        for _ in range(50):
            socket.create_connection((LOCALHOST, port)).close()
        accepted = 0
        for each in (one, other):
            each.setblocking(False)
            try:
                while True:
                    each.accept()[0].close()
                    accepted += 1
            except BlockingIOError:
                pass
        assert accepted == 50


def test_without_a_worker_a_connection_is_refused_and_does_not_hang(port):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOCALHOST, port))


@pytest.mark.parametrize("workers", [0, 1])
def test_neither_a_server_nor_other_workers_can_have_it(port, workers):
    others = [listening(port, shared=True) for _ in range(workers)]
    with pytest.raises(OSError, match="Address already in use"):
        listening(port, shared=False)
    with pytest.raises(
        SettingsError, match=rf"--port {port} can't be opened on --host {LOCALHOST}; is the port in use"
    ):
        reserve(LOCALHOST, port)
    for each in others:
        each.close()


def test_a_port_where_someone_listens_alone_or_shares_is_refused():
    for shared in (False, True):
        with listening(0, shared=shared) as taken, pytest.raises(SettingsError, match="is the port in use"):
            reserve(LOCALHOST, taken.getsockname()[1])


def test_after_the_guard_is_closed_it_is_free_although_connections_linger():
    """What the server closed stays in TIME_WAIT for a minute."""
    guard, port = reserve(LOCALHOST, 0)
    with guard, listening(port, shared=True) as server:
        client = socket.create_connection((LOCALHOST, port))
        server.accept()[0].close()
        assert client.recv(1) == b""
        client.close()
    reserve(LOCALHOST, port)[0].close()
    listening(port, shared=False).close()


def test_a_host_that_is_not_of_this_machine():
    with pytest.raises(SettingsError, match=r"--port 8500 can't be opened on --host 192\.0\.2\.1"):
        reserve("192.0.2.1", 8500)
