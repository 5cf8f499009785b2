"""The port that the workers share, kept for them by their parent.

With SO_REUSEPORT a second server on the same port would be no error: it would silently take half of the connections.
So the parent first listens alone, which fails where anybody has the port, and then keeps it bound, without listening,
for as long as it lives, which makes the same attempt of another server fail even while every worker is down.
"""

import socket

from service.api import ports


def reserve(host: str, port: int) -> tuple[socket.socket, int]:
    """Keeps a port that nobody has, until the socket is closed, and gives its number; 0 takes a free one.

    Only sockets with SO_REUSEPORT can be bound beside it. Raises SettingsError where the port can't be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with _bound(family, address) as alone:
            alone.listen()
            address = alone.getsockname()
        guard = _bound(family, address, shared=True)
    except OSError as error:
        raise ports.refused(host, port) from error
    # Beside a bound socket that reuses addresses another such may be bound; beside this one now none but the workers'.
    guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return guard, int(address[1])


def _bound(family: int, address: "socket._Address", *, shared: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # What a former server's connections left behind (TIME_WAIT) must not keep the port from us.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
