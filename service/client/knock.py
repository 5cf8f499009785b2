"""What listens at an address, asked over a plain socket when a call could not reach a server.

gRPC tells the last error of an address that stands for several, such as localhost for ::1 and 127.0.0.1: "refused" by
the one may hide that something else answered on the other, and which of them comes last is chance. The invariant: only
what said something that no HTTP/2 server begins with is told; silence, and any doubt, is not. Called by `errors`.
"""

import socket
import time
from contextlib import suppress
from typing import Final

SECONDS: Final = 1.0
"""The longest that all of a host's addresses may take together."""

# RFC 9113, 3.4: a client begins with this and its SETTINGS, here none, and the first frame of a server is its SETTINGS.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_TYPE: Final = 3  # the place of a frame's type in its head
_SETTINGS: Final = 4


def speaks_no_grpc(server: str) -> bool:
    """Whether something answers at HOST:PORT, and none of the host's addresses as a gRPC server without TLS does.

    False for gRPC's other kinds of targets. Blocks for up to `SECONDS`, and as long as DNS takes.
    """
    answers = _answers(server)
    return any(answers) and not any(_is_settings(answer) for answer in answers)


def speaks_without_tls(server: str) -> bool:
    """Whether one of the host's addresses answers as a gRPC server without TLS does; blocks for as long."""
    return any(_is_settings(answer) for answer in _answers(server))


def _answers(server: str) -> list[bytes]:
    """What each of the host's addresses says first; nothing of those that refuse."""
    host, _, port = server.removeprefix("dns:///").rpartition(":")
    answers: list[bytes] = []
    if "/" in host or not port.isdecimal():
        return answers
    until = time.monotonic() + SECONDS
    with suppress(OSError, UnicodeError):
        for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as line:
                answers.append(_first_words(line, address, until))
    return answers


def _first_words(line: socket.socket, address: "socket._RetAddress", until: float) -> bytes:
    """Raises OSError, TimeoutError after `until` among them."""
    line.settimeout(_left(until))
    line.connect(address)
    line.sendall(_PREFACE)
    line.settimeout(_left(until))
    return line.recv(_TYPE + 1, socket.MSG_WAITALL)


def _left(until: float) -> float:
    if (seconds := until - time.monotonic()) > 0:
        return seconds
    raise TimeoutError


def _is_settings(answer: bytes) -> bool:
    return len(answer) > _TYPE and answer[_TYPE] == _SETTINGS
