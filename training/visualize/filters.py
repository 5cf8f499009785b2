"""The first layer's filters: the patterns of pixels that a network begins with. Put on cards by `cards`."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from training.visualize.tiles import Pixels, signed
from training.visualize.trace import blocks

_COLOURS = 3
_TINIEST = 1e-30
_KERNEL_DIMENSIONS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Filters:
    """The kernels of the layer at `path`, float32 [n, height, width, channels]: one a filter."""

    path: str
    kernels: NDArray[np.float32]


def first_filters(model: keras.Model) -> Filters | None:
    """The filters of the first two-dimensional convolution; None where there is none."""
    for block in blocks(model):
        kernel = getattr(block.layers[0], "kernel", None)
        if kernel is not None and len(kernel.shape) == _KERNEL_DIMENSIONS:
            kernels = block.layers[0].get_weights()[0].transpose(3, 0, 1, 2)
            if isinstance(block.layers[0], keras.layers.DepthwiseConv2D):
                kernels = np.concatenate([kernels[..., [channel]] for channel in range(kernels.shape[3])])
            return Filters(block.paths[0], kernels)
    return None


def filter_tiles(filters: Filters) -> list[Pixels]:
    """One tile a filter: in colour where it sees colours, else the mean over its channels, white where it is 0."""
    if filters.kernels.shape[3] != _COLOURS:
        return [signed(kernel.mean(axis=2)) for kernel in filters.kernels]
    return [_in_colour(kernel) for kernel in filters.kernels]


def _in_colour(kernel: NDArray[np.float32]) -> Pixels:
    """Grey is 0; each filter is scaled by its own largest weight."""
    largest = max(float(np.abs(kernel).max()), _TINIEST)
    tile: Pixels = (127.5 + 127.5 * kernel / largest).round().astype(np.uint8)
    return tile
