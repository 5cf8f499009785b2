"""Pixels to the bytes of a picture file, as a user would send them. Called by evaluation and the golden samples."""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_JPEG_QUALITY = 95


def encode(pixels: NDArray[np.uint8], kind: Literal["PNG", "JPEG"] = "PNG") -> bytes:
    """Encodes uint8 pixels of shape [height, width, 1 or 3]. A PNG gives back exactly these pixels, a JPEG nearly."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    image.save(file, kind, quality=_JPEG_QUALITY)
    return file.getvalue()
