"""Small pictures made of numbers: activations, kernels, heat over a photograph, and grids of them.

All in and out are arrays: uint8 RGB [h, w, 3], or RGBA where a grid's gaps are clear. Heat takes perceptually uniform
colours that colour-blind readers can order. Used by the modules that look into a model, and by `training.report`.
"""

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_OVERLAY = 0.72  # how much of the heat's colour covers the picture at most
_LEAST_OVERLAY = 112  # pixels a side, so that heat is smooth on small pictures too
_TINIEST = 1e-30


def picture(image: Pixels) -> Pixels:
    """A picture as RGB, whether it is grey, uint8 [h, w, 1], or in colour, uint8 [h, w, 3]."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def heat(values: NDArray[np.floating], brightest: float | None = None) -> Pixels:
    """Float [h, w], from 0 (black) to `brightest`, or the largest of them, (pale yellow), as RGB."""
    top = values.max() if brightest is None else brightest
    return _coloured("inferno", np.clip(values / max(top, _TINIEST), 0, 1))


def scale(width: int = 96, height: int = 8) -> Pixels:
    """The colours of heat from low, at the left, to high."""
    return heat(np.tile(np.linspace(0, 1, width), (height, 1)))


def signed(values: NDArray[np.floating]) -> Pixels:
    """Float [h, w] as RGB: white is 0, purple below and orange above it, both scaled by the largest magnitude."""
    return _coloured("PuOr_r", 0.5 + 0.5 * values / max(np.abs(values).max(), _TINIEST))


def spotted(values: NDArray[np.floating]) -> Pixels:
    """Heat of which single pixels may be far above the others: the brightest colour begins at the 99th percentile."""
    return heat(values, float(np.percentile(values, 99)))


def overlay(image: Pixels, values: NDArray[np.floating]) -> Pixels:
    """Heat of any size, smoothly enlarged, over the picture in grey; where the heat is 0 the picture stays as it is.

    A small picture is enlarged by a whole number to at least 112 pixels a side.
    """
    times = -(-_LEAST_OVERLAY // min(image.shape[:2]))
    large = image.repeat(times, axis=0).repeat(times, axis=1)
    scaled = Image.fromarray((values / max(values.max(), _TINIEST)).astype(np.float32))
    shares = np.asarray(scaled.resize(large.shape[1::-1], Image.Resampling.BICUBIC)).clip(0, 1)
    grey = picture(large).mean(axis=2, keepdims=True)
    cover = _OVERLAY * shares[..., np.newaxis] ** 0.7
    mixed: Pixels = ((1 - cover) * grey + cover * heat(shares, 1.0)).round().astype(np.uint8)
    return mixed


def shrunk(image: Pixels, side: int) -> Pixels:
    """The picture with no side longer than `side`."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def grid(tiles: Sequence[Pixels], columns: int, gap: int = 1) -> Pixels:
    """Tiles of one size, row by row, as RGBA [rows * (h + gap) - gap, columns * (w + gap) - gap, 4] with clear gaps."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    canvas = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        canvas[top : top + height, left : left + width, :3] = tile
        canvas[top : top + height, left : left + width, 3] = 255
    return canvas


def png(image: Pixels) -> bytes:
    """RGB or RGBA as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return file.getvalue()


def _coloured(name: str, shares: NDArray[np.floating]) -> Pixels:
    colours: Pixels = mpl.colormaps[name](shares, bytes=True)[..., :3]
    return colours
