"""Whether what listens at an address speaks no gRPC, asked over a plain socket when a call could not reach a server.

gRPC tells the last error of an address that stands for several, such as localhost for ::1 and 127.0.0.1: "refused" by
the one may hide that something else answered on the other, and which of them comes last is chance. The invariant: only
what said something that no HTTP/2 server begins with is told; silence, and any doubt, is not. Called by `errors`.
"""

import socket
from contextlib import suppress
from typing import Final

SECONDS: Final = 1.0
"""The longest that one address may take to connect, and again to answer."""

# RFC 9113, 3.4: a client begins with this and its SETTINGS, here none, and the first frame of a server is its SETTINGS.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_TYPE: Final = 3  # the place of a frame's type in its head
_SETTINGS: Final = 4


def speaks_no_grpc(server: str) -> bool:
    """Whether something answers at HOST:PORT, and none of the host's addresses as a gRPC server without TLS does.

    False for gRPC's other kinds of targets. Blocks for up to twice `SECONDS` an address, and as long as DNS takes.
    """
    host, _, port = server.removeprefix("dns:///").rpartition(":")
    if "/" in host or not port.isdecimal():
        return False
    answers = []
    with suppress(OSError, UnicodeError):
        for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as line:
                answers.append(_first_words(line, address))
    return any(answers) and not any(_is_settings(answer) for answer in answers)


def _first_words(line: socket.socket, address: "socket._RetAddress") -> bytes:
    line.settimeout(SECONDS)
    line.connect(address)
    line.sendall(_PREFACE)
    return line.recv(_TYPE + 1, socket.MSG_WAITALL)


def _is_settings(answer: bytes) -> bool:
    return len(answer) > _TYPE and answer[_TYPE] == _SETTINGS
