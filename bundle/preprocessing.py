"""From a picture's encoded bytes to the uint8 pixels that a model takes: the one place where this is done.

Training's evaluation, the service and batch jobs all call `decode`, so a served answer is made of the same pixels as
the evaluated one. Every limit is checked on the header, before anything is decoded. Pure, and safe from any thread;
Pillow decodes and resizes with the GIL released. Colour profiles are not applied.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import Resampling, Transpose
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from bundle import geometry, headers
from bundle.errors import ImageTooLarge, ImageUndecodable
from bundle.geometry import Box, Size
from bundle.headers import Header
from bundle.manifest import Preprocessing

Pixels = NDArray[np.uint8]

_DECODERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
}
_KERNELS = {
    "nearest": Resampling.NEAREST,
    "box": Resampling.BOX,
    "bilinear": Resampling.BILINEAR,
    "bicubic": Resampling.BICUBIC,
    "lanczos": Resampling.LANCZOS,
}
# What turns a stored picture upright, by its EXIF orientation. From 5 on, width and height change places.
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_FIRST_SIDEWAYS = 5
# A JPEG as large as may be may have as many scans as progressive ones ordinarily have, about ten; a smaller one more.
_SCANS_OF_THE_LARGEST = 13
PEAK_BYTES_A_PIXEL = 16  # of memory while a picture is decoded, at most: that of a WebP
# A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves at least this many times the pixels a side that are needed.
_DRAFT_MARGIN = 2
# 16-bit grey to 8 bits: 257 grey levels to one, so that 65535 becomes 255 and nothing is clipped.
_EIGHT_BITS = ((np.arange(65_536) + 128) // 257).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may cost before it is refused: untrusted bytes must not take the machine's memory or time.

    A file of a few hundred bytes can declare gigabytes of pixels. Measured, decoding takes 4 bytes of memory a pixel of
    an opaque picture (a large JPEG less, it is decoded smaller), up to 9 with transparency and 16 of a WebP; so the
    default of 50 million pixels, which lets a 48-megapixel camera's JPEG through, means at most 800 MB for one picture
    (`PEAK_BYTES_A_PIXEL`). What the server decodes at once is bounded too, but not below one picture of `max_pixels`.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_side: int = 16_384


_DEFAULT_LIMITS = Limits()


def decode(data: bytes | memoryview, spec: Preprocessing, limits: Limits = _DEFAULT_LIMITS) -> Pixels:
    """Decodes one encoded picture and brings it to the size and colours that the model takes.

    Of an animation it is the first frame. The frame is turned upright, cut, resized in one antialiased step and padded
    as `spec` says. A picture that already has the size and the colours comes out as it is, bit by bit.

    Returns uint8 [height, width, channels], C-contiguous, not to be written to. Raises ImageUndecodable for bytes that
    are empty, truncated, damaged or of another format, ImageTooLarge for a picture over a limit.
    """
    header = _admit(data, limits)
    target = spec.width, spec.height
    sideways = spec.exif_orientation and header.orientation >= _FIRST_SIDEWAYS
    stored = header.width, header.height
    box, size = geometry.frame(stored, target[::-1] if sideways else target, spec.resize, spec.crop_fraction)
    image, scale = _decode(header, box, size, spec)
    image = image.resize(size, _KERNELS[spec.kernel], box=_scaled(box, scale))
    if spec.exif_orientation and header.orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[header.orientation])
    return _pad(_flatten(image, spec), spec)


def _admit(data: bytes | memoryview, limits: Limits) -> Header:
    """The header of a picture that keeps within the limits."""
    size = memoryview(data).nbytes
    if size == 0:
        raise ImageUndecodable("the picture is empty: it has 0 bytes")
    if size > limits.max_bytes:
        raise ImageTooLarge(
            f"the picture has {size:,} bytes, over the limit of {limits.max_bytes:,}; send a smaller file"
        )
    header = headers.read(bytes(data))
    sides = f"the picture is {header.width:,} x {header.height:,} pixels"
    if max(header.width, header.height) > limits.max_side:
        raise ImageTooLarge(f"{sides}, over the limit of {limits.max_side:,} a side; scale it down")
    if header.width * header.height > limits.max_pixels:
        raise ImageTooLarge(f"{sides}, over the limit of {limits.max_pixels:,} in all; scale it down")
    if header.width * header.height * header.scans > limits.max_pixels * _SCANS_OF_THE_LARGEST:
        raise ImageTooLarge(
            f"{sides} in {header.scans} scans, over the limit of {limits.max_pixels * _SCANS_OF_THE_LARGEST:,} pixels "
            "in all scans; save it as a baseline JPEG or scale it down"
        )
    return header


def _decode(header: Header, box: Box, size: Size, spec: Preprocessing) -> tuple[Image.Image, int]:
    """The picture's pixels as L, RGB or RGBa, and how many times smaller than stored they were decoded."""
    try:
        image = _DECODERS[header.format](io.BytesIO(header.body))
        if image.size != (header.width, header.height):
            raise ImageUndecodable(f"the {header.format} picture is damaged: it declares two sizes")
        scale = 1 if spec.kernel == "nearest" else _draft(image, box, size)
        image.load()
        return _simplify(image, spec.channels), scale
    except ImageUndecodable:
        raise
    except Exception as error:
        # Hostile bytes make decoders fail in many ways: OSError, SyntaxError, ValueError, struct.error, MemoryError...
        reason = str(error) or type(error).__name__
        raise ImageUndecodable(f"the {header.format} picture is truncated or damaged: {reason}") from error


def _draft(image: Image.Image, box: Box, size: Size) -> int:
    """Lets the JPEG decoder skip the detail that the resize would throw away."""
    width, height = image.size
    wanted = (
        math.ceil(_DRAFT_MARGIN * size[0] * width / (box[2] - box[0])),
        math.ceil(_DRAFT_MARGIN * size[1] * height / (box[3] - box[1])),
    )
    frame = image.draft(None, wanted)
    return round(width / frame[1][2]) if frame else 1


def _scaled(box: Box, scale: int) -> Box:
    return box[0] / scale, box[1] / scale, box[2] / scale, box[3] / scale


def _simplify(image: Image.Image, channels: int) -> Image.Image:
    """Reduces the many modes of files to L, RGB or, where anything is transparent, RGBa (alpha multiplied in)."""
    if image.mode.startswith("I"):
        image = _narrow(image)
    if image.has_transparency_data:
        return (image if image.mode == "RGBA" else image.convert("RGBA")).convert("RGBa")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _narrow(image: Image.Image) -> Image.Image:
    """16-bit grey as L, or as LA where one grey level is declared transparent."""
    levels = np.asarray(image).astype(np.uint16, copy=False)
    grey = Image.fromarray(_EIGHT_BITS[levels])
    if "transparency" not in image.info:
        return grey
    alpha = np.where(levels == image.info["transparency"], 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(alpha)))


def _flatten(image: Image.Image, spec: Preprocessing) -> Pixels:
    """Lays what is transparent over the background. Gives [height, width, channels]."""
    if image.mode == "RGBa":
        premultiplied = np.asarray(image).astype(np.uint16)
        colours, alpha = premultiplied[..., :3], premultiplied[..., 3:]
        laid = np.minimum(colours + (spec.background * (255 - alpha) + 127) // 255, 255)
        image = Image.fromarray(laid.astype(np.uint8))
        image = image.convert("L") if spec.channels == 1 else image
    return np.asarray(image).reshape(image.height, image.width, spec.channels)


def _pad(pixels: Pixels, spec: Preprocessing) -> Pixels:
    """Sets pixels that are smaller than the target into the middle of a frame of background."""
    height, width, channels = pixels.shape
    if (height, width) == (spec.height, spec.width):
        return pixels
    framed = np.full((spec.height, spec.width, channels), spec.background, np.uint8)
    left, top = geometry.centred((width, height), (spec.width, spec.height))
    framed[top : top + height, left : left + width] = pixels
    return framed
