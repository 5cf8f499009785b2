"""What the first bytes of a picture say: format, size, orientation - read before any decoder sees them.

Owns the allow-list of formats and hands on a `body` from which everything that pixels do not need is cut: colour
profiles, texts, thumbnails, comments, the video of a motion photo. So limits are checked on plain numbers, metadata
can't warn, crash or cost time, and the work here is bounded by `_MAX_PARTS`, whatever the bytes are. Called by
`bundle.preprocessing`; `declared_pixels`, which only looks, by whoever must know what decoding will cost.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from bundle.errors import ImageUndecodable

# Segments, chunks or blocks of one file: far more than real files have, and at most 0.1 s of the interpreter's time.
_MAX_PARTS = 65_536
# Scans of one JPEG: a progressive one has about ten, and each makes the decoder pass over the whole picture.
_MAX_SCANS = 64
# Segments or blocks that `declared_pixels` looks at, and the bytes between two of them.
_MAX_LOOKS, _MAX_GAP = 256, 4096
_EXIF_PREFIX = b"Exif\0\0"
_EXIF_ORIENTATION = 0x0112
_EXIF_SHORT = 3

_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

_JPEG_MARKER = 0xFF  # before every marker's code, as often as the writer likes
_JPEG_START_OF_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
_JPEG_EXIF = 0xE1
_JPEG_STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # markers without a length
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15, which hold the size
_JPEG_NEEDLESS = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}  # APP1 to APP15 and comments; APP14 says the colours

_GIF_EXTENSION, _GIF_IMAGE, _GIF_CONTROL = 0x21, 0x2C, 0xF9
_BMP_CORE_HEADER = 12
_BMP_SIZED, _WEBP_SIZED = 34, 30  # the first bytes, in which the size stands
_BMP_RUN_LENGTH = frozenset({1, 2})


@dataclass(frozen=True, slots=True)
class Header:
    """One picture before it is decoded. `width` and `height` are as stored, `orientation` is EXIF's 1 to 8.

    The decoder passes over all of it once for each of its `scans`.
    """

    format: str
    width: int
    height: int
    orientation: int
    body: bytes
    scans: int = 1


def read(data: bytes) -> Header:
    """The header of a JPEG, PNG, WebP, BMP or GIF file. Raises ImageUndecodable."""
    for name, is_format, parse in _FORMATS:
        if is_format(data):
            try:
                header = parse(data)
            except (struct.error, IndexError):
                raise ImageUndecodable(f"the {name} picture is truncated or damaged: its header ends early") from None
            if header.width < 1 or header.height < 1:
                raise ImageUndecodable(f"the {name} picture has no pixels: it is {header.width} x {header.height}")
            return header
    raise ImageUndecodable(f"the picture's format is not read; send {FORMATS}")


def declared_pixels(data: bytes) -> int | None:
    """Width times height as `read` finds them, in a few microseconds: nothing is copied, little is checked.

    0 for what `read` refuses, None where the size stands behind so much else that only `read` finds it.
    """
    look = _LOOKS.get(data[:2])
    if look is None:
        return 0
    try:
        return look(data)
    except (struct.error, IndexError, ImageUndecodable):
        return 0


def _png_pixels(data: bytes) -> int:
    width, height = struct.unpack_from(">II", data, 16)
    return int(width * height)


def _jpeg_pixels(data: bytes) -> int | None:
    position = 2
    for _ in range(_MAX_LOOKS):
        position = data.find(b"\xff", position, position + _MAX_GAP)
        if position < 0:
            break
        marker = data[position + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return int(width * height)
        if marker == _JPEG_START_OF_SCAN:
            return 0
        if marker == _JPEG_MARKER:
            position += 1
        else:
            standalone = marker in _JPEG_STANDALONE
            position += 2 if standalone else 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _webp_pixels(data: bytes) -> int:
    header = _webp(data[:_WEBP_SIZED])
    return header.width * header.height


def _bmp_pixels(data: bytes) -> int:
    header = _bmp(data[:_BMP_SIZED])
    return max(0, header.width) * header.height


def _gif_pixels(data: bytes) -> int | None:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, inside = 13 + (3 << (flags % 8 + 1) if flags & 0x80 else 0), False
    for _ in range(_MAX_LOOKS):
        byte = data[position]
        if inside:
            inside = byte > 0
            position += 1 + byte
        elif byte == _GIF_EXTENSION:
            inside = True
            position += 2
        elif byte != _GIF_IMAGE:
            return 0
        else:
            left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
            return int(max(width, left + frame_width) * max(height, top + frame_height))
    return None


def _jpeg(data: bytes) -> Header:
    view, position = memoryview(data), 2
    parts: list[bytes | memoryview] = [data[:2]]
    width = height = 0
    exif = b""
    for _ in range(_MAX_PARTS):
        position = data.find(b"\xff", position)  # what stands between segments is no part of the picture
        if position < 0:
            raise IndexError
        marker = data[position + 1]
        if marker == _JPEG_MARKER or marker in _JPEG_STANDALONE:
            position += 1 if marker == _JPEG_MARKER else 2
            continue
        if marker == _JPEG_START_OF_SCAN:
            stop = data.find(_JPEG_END, position)  # phones append videos and further pictures
            parts.append(view[position : stop + len(_JPEG_END)] if stop > 0 else view[position:])
            body = b"".join(parts)
            return Header("JPEG", width, height, _orientation(exif), body, _scans(body))
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
        elif marker == _JPEG_EXIF and data.startswith(_EXIF_PREFIX, position + 4):
            exif = exif or data[position + 4 : end]
        if marker not in _JPEG_NEEDLESS:
            parts.append(view[position:end])
        position = end
    raise _too_many_parts("JPEG")


def _scans(jpeg: bytes) -> int:
    """How many there are. Without metadata and what was appended, their marker stands nowhere but before a scan."""
    scans = jpeg.count(b"\xff\xda")
    if scans > _MAX_SCANS:
        raise ImageUndecodable(f"the JPEG picture has {scans:,} scans, over the limit of {_MAX_SCANS}; save it again")
    return scans


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ImageUndecodable("the PNG picture is damaged: it does not begin with its header")
    width, height = struct.unpack_from(">II", data, 16)
    view, position, exif = memoryview(data), 8, b""
    parts: list[bytes | memoryview] = [data[:8]]
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind in _PNG_NEEDED:
            parts.append(view[position:end])
        elif kind == b"eXIf":
            exif = exif or data[position + 8 : end - 4]
        if kind == b"IEND":
            break
        position = end
    else:
        raise _too_many_parts("PNG")
    return Header("PNG", width, height, _orientation(exif), b"".join(parts))


def _webp(data: bytes) -> Header:
    kind, orientation = data[12:16], 1
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        orientation = _webp_orientation(data)
    else:
        raise ImageUndecodable("the WebP picture is damaged: its first chunk is unknown")
    return Header("WebP", width, height, orientation, data)


def _webp_orientation(data: bytes) -> int:
    position = 12
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            return 1
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return _orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    raise _too_many_parts("WebP")


def _bmp(data: bytes) -> Header:
    header_size = struct.unpack_from("<I", data, 14)[0]
    if header_size == _BMP_CORE_HEADER:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height, compression = struct.unpack_from("<ii4xI", data, 18)
        if compression in _BMP_RUN_LENGTH:
            raise ImageUndecodable("the BMP picture is run-length encoded, which is not read; save it uncompressed")
    return Header("BMP", width, abs(height), 1, data)  # a negative height means top to bottom


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags % 8 + 1) if flags & 0x80 else 0)
    view = memoryview(data)
    parts: list[bytes | memoryview] = [data[:position]]
    steps = iter(range(_MAX_PARTS))
    for _ in steps:
        if data[position] == _GIF_IMAGE:
            left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
            parts.append(view[position:])
            # A frame may reach beyond the screen, which then grows.
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            return Header("GIF", width, height, 1, b"".join(parts))
        if data[position] != _GIF_EXTENSION:
            raise ImageUndecodable("the GIF picture is truncated or damaged: it holds no frame")
        end = position + 2
        for _ in steps:
            if data[end] == 0:
                break
            end += 1 + data[end]
        if data[position + 1] == _GIF_CONTROL:  # it says which colour is transparent
            parts.append(view[position : end + 1])
        position = end + 1
    raise _too_many_parts("GIF")


def _too_many_parts(name: str) -> ImageUndecodable:
    return ImageUndecodable(f"the {name} picture has more than {_MAX_PARTS:,} parts; save it again")


def _orientation(exif: bytes) -> int:
    """EXIF's orientation, 1 where it says nothing that makes sense: wrong metadata does not spoil a good picture.

    Called once a picture, with the first EXIF there is, as other readers do: its entries are looked at one by one.
    """
    tiff = exif.removeprefix(_EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        directory = struct.unpack_from(f"{order}I", tiff, 4)[0]
        count = struct.unpack_from(f"{order}H", tiff, directory)[0]
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _EXIF_ORIENTATION:
                return value if kind == _EXIF_SHORT and value in range(1, 9) else 1
    except struct.error:
        pass  # truncated
    return 1


_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], Header]], ...] = (
    ("JPEG", lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg),
    ("PNG", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("WebP", lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", _webp),
    ("GIF", lambda data: data.startswith((b"GIF87a", b"GIF89a")), _gif),
    ("BMP", lambda data: data.startswith(b"BM"), _bmp),
)
_LOOKS: dict[bytes, Callable[[bytes], int | None]] = {
    b"\xff\xd8": _jpeg_pixels,
    b"\x89P": _png_pixels,
    b"RI": _webp_pixels,
    b"GI": _gif_pixels,
    b"BM": _bmp_pixels,
}
FORMATS = "JPEG, PNG, WebP, BMP or GIF"
