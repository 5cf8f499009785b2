"""The bytes of HTTP/2 frames, both ways: a head of nine bytes, then the payload. Used by `wire`.

Knows nothing of what a frame means; `wire` does. Source: RFC 9113, sections 4.1, 6 and 7.
"""

import struct
from collections.abc import Iterator
from typing import Final

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW = 1, 2, 3, 4
CANCEL: Final = 8

SETTING: Final = struct.Struct(">HI")
NUMBER: Final = struct.Struct(">I")  # a window's increment, or an error's code
FRAME_BYTES: Final = 16384  # of a payload: what every server takes

_HEAD: Final = struct.Struct(">BHBBI")  # the length's highest byte, its rest, type, flags, stream


def head(size: int, kind: int, flags: int, stream: int) -> bytes:
    """What goes before a payload of so many bytes."""
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream)


def framed(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A whole frame."""
    return head(len(payload), kind, flags, stream) + payload


class Reader:
    """Puts frames together from the pieces in which they come."""

    def __init__(self) -> None:
        """Begins between two frames."""
        self._received = b""

    def frames(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Type, flags, stream and payload of each frame that is whole now; what follows the last waits for more."""
        data = self._received + data
        at = 0
        while len(data) - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            end = at + _HEAD.size + (high << 16 | low)
            if end > len(data):
                break
            yield kind, flags, stream, data[at + _HEAD.size : end]
            at = end
        self._received = data[at:]
