"""Pictures that nobody should send."""

import struct
import zlib


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header says this size (RGB, 8 bits) and whose pixels are `data`, compressed."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(data, 9)) + _chunk(b"IEND", b"")
    )


def bomb() -> bytes:
    """A file of about 0.2 MB with 8,000 x 8,000 pixels, which would take 192 MB decoded."""
    row = b"\0" * (1 + 8_000 * 3)
    return png_of(8_000, 8_000, row * 8_000)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
