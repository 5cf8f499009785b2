"""Pictures for the tests of preprocessing, encoded by Pillow or, where Pillow can't write them, by hand."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from bundle.manifest import Preprocessing

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")


def spec(width, height, channels=3, **fields):
    return Preprocessing(input="image", width=width, height=height, channels=channels, **fields)


def noise(width, height, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def photo(width, height):
    """Smooth colours that differ in every corner, as cameras give them and codecs like them."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = 0.5 + 0.5 * np.sin(6 * x + 3 * y)
    return (np.stack([x, y, waves], axis=-1) * 255).astype(np.uint8)


def encoded(picture, format="PNG", **options):  # noqa: A002
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, colour, rows, *extra):
    """A PNG of any depth and colour type; `rows` are the raw rows' bytes, `extra` whole chunks before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


def bombs():
    """Files of a few bytes whose headers declare 20,000 x 20,000 pixels and which hold none."""
    side = 20_000
    canvas = (side - 1).to_bytes(3, "little")
    return {
        "JPEG": b"\xff\xd8\xff\xc0\x00\x11\x08"
        + struct.pack(">HH", side, side)
        + b"\x03"
        + b"\x01\x11\x00" * 3
        + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00",
        "PNG": png(side, side, 8, 2, []),
        "WEBP": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + canvas,
        "BMP": b"BM" + bytes(8) + struct.pack("<IIiiHHIIiiII", 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0),
        "GIF": b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0),
        "GIF whose frame outgrows its screen": b"GIF89a"
        + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", side, side, side, side, 0),
    }
