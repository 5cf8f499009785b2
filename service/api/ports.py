"""Whether the gRPC port can be had, asked before a transport opens it, and the one sentence where it can't.

The transports write lines of their own to standard error when they can't bind, raw ones of C++ and Rust among them; who
started the server needs only our sentence. What comes between the question and the opening still ends in it. Called by
the transports, and for the sentence by `service.workers`, whose shared port is kept for them in another way.
"""

import socket

from service.errors import SettingsError


def check(host: str, port: int) -> None:
    """Raises SettingsError where none of the host's addresses lets this process listen on the port; 0 is free."""
    if not port:
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise refused(host, port) from error
    if not any(_can_listen(family, address) for family, _, _, _, address in found):
        raise refused(host, port)


def refused(host: str, port: int) -> SettingsError:
    """The error for a port that can't be had."""
    return SettingsError(
        f"--port {port} can't be opened on --host {host}; is the port in use, or the address not one of this machine?"
    )


def _can_listen(family: int, address: "socket._RetAddress") -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as line:
            # What a former server's connections left behind (TIME_WAIT) must not keep the port from us.
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            line.bind(address)
            line.listen()
    except OSError:
        return False
    return True
