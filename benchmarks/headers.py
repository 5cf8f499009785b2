"""HTTP/2 header blocks of gRPC calls, just enough to send one request over and over and to read a call's status.

The server is told to keep no table of headers (SETTINGS_HEADER_TABLE_SIZE 0), so every block stands for itself: a
request's is prepared once, an answer's that was seen before needs no second reading. Strings are compared as they
are, plain or in the Huffman code, and never decoded. Called by `wire`. Sources: RFC 7541, and gRPC over HTTP/2.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

UNKNOWN: Final = 2
"""The gRPC code of a call that ended without one."""

_CODES: Final = 17
_STATIC_NAMES: Final = 61
_POST, _HTTP = b"\x83", b"\x86"  # the static table's entries 3 and 6
_PATH, _AUTHORITY, _CONTENT_TYPE, _NEW_NAME = b"\x04", b"\x01", b"\x0f\x10", b"\x00"  # literals, not for any table
_INDEXED, _REMEMBERED, _TABLE_SIZE = 0x80, 0x40, 0x20

# RFC 7541, appendix B: the characters that a gRPC status is made of.
_HUFFMAN: Final = {
    "0": "00000",
    "1": "00001",
    "2": "00010",
    "3": "011001",
    "4": "011010",
    "5": "011011",
    "6": "011100",
    "7": "011101",
    "8": "011110",
    "9": "011111",
    "-": "010110",
    "a": "00011",
    "c": "00100",
    "g": "100110",
    "p": "101011",
    "r": "101100",
    "s": "01000",
    "t": "01001",
    "u": "101101",
}


def request_headers(path: str, authority: str) -> bytes:
    """The block of a unary call to `path`, without a deadline."""
    return b"".join(
        (
            *(_POST, _HTTP, _PATH, _string(path.encode()), _AUTHORITY, _string(authority.encode())),
            *(_CONTENT_TYPE, _string(b"application/grpc"), _NEW_NAME, _string(b"te"), _string(b"trailers")),
        )
    )


def timeout_header(seconds: float) -> bytes:
    """What is appended to a request's block to give it that much time; at least a microsecond.

    gRPC takes eight digits at most, so a time of 100 s or more is told in milliseconds.
    """
    microseconds = max(1, int(seconds * 1e6))
    return _TIMEOUT + _string(b"%du" % microseconds if microseconds < 10**8 else b"%dm" % (microseconds // 1000))


@lru_cache(maxsize=4096)
def status(block: bytes) -> int | None:
    """The gRPC code in an answer's block, None where it has none. Raises ValueError for a block that is not read."""
    for name, value in _fields(block):
        if name in _STATUS_NAMES:
            return _STATUS_CODES.get(value, UNKNOWN)
    return None


def _fields(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The fields whose name is written out, each string as it is coded."""
    at = 0
    while at < len(block):
        kind = block[at]
        if kind & _INDEXED:
            index, at = _integer(block, at, 7)
            if index > _STATIC_NAMES:
                raise ValueError("the server uses a header table although it was told to keep none")
            continue
        if kind & _REMEMBERED:
            index, at = _integer(block, at, 6)
        elif kind & _TABLE_SIZE:
            _, at = _integer(block, at, 5)
            continue
        else:
            index, at = _integer(block, at, 4)
        name = b""
        if not index:
            name, at = _coded(block, at)
        value, at = _coded(block, at)
        yield name, value


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """The number that begins in the lowest `bits` of a byte, and the place after it."""
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value == most:
        shift = 0
        while True:
            value += (block[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not block[at - 1] & 0x80:
                break
    return value, at


def _coded(block: bytes, at: int) -> tuple[bytes, int]:
    """The bytes of a string, whichever way it is coded, and the place after it."""
    length, at = _integer(block, at, 7)
    return block[at : at + length], at + length


def _string(text: bytes) -> bytes:
    """A plain string of at most 126 bytes."""
    if len(text) > 126:  # noqa: PLR2004 - what one byte of length holds
        raise ValueError(f"{text!r} is too long for a header that is prepared here")
    return bytes((len(text),)) + text


def _huffman(text: str) -> bytes:
    bits = "".join(_HUFFMAN[character] for character in text)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


_TIMEOUT: Final = _NEW_NAME + _string(b"grpc-timeout")
_STATUS_NAMES: Final = frozenset({b"grpc-status", _huffman("grpc-status")})
_STATUS_CODES: Final = {code(str(number)): number for number in range(_CODES) for code in (str.encode, _huffman)}
