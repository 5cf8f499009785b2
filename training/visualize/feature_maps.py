"""Feature maps: what each layer of a network keeps of one picture. Put on cards by `cards`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.visualize.graph import Block
from training.visualize.tiles import Pixels, heat, shrunk
from training.visualize.trace import as_inputs, blocks, numbers, spatial, trace

LAYERS, MAPS = 8, 16
_TILE = 64


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMaps:
    """What comes out of `block`: those of its maps that vary most, float32 [k, h, w]."""

    block: Block
    maps: NDArray[np.float32]


def feature_maps(model: keras.Model, pixels: Mapping[str, NDArray[Any]]) -> list[FeatureMaps]:
    """What comes out of up to LAYERS blocks, spread evenly over the depth, for the first of the pictures.

    `pixels` are uint8 [n, h, w, c] by input. Of each layer the MAPS channels that vary most, in their own order.
    """
    wanted = [block for block in blocks(model) if spatial(block) and hasattr(block.layers[0], "kernel_size")]
    wanted = wanted or [block for block in blocks(model) if spatial(block)]
    places = np.unique(np.linspace(0, max(len(wanted) - 1, 0), LAYERS).round().astype(int))
    chosen = {block.paths[-1]: block for block in (wanted[place] for place in places[: len(wanted)])}
    first = {name: array[:1] for name, array in pixels.items()}
    found = {}
    for step in trace(model, as_inputs(model, first)).steps:
        if step.path in chosen and step.path not in found:
            found[step.path] = _strongest(chosen[step.path], numbers(step.value)[0])
    return list(found.values())


def map_tiles(layer: FeatureMaps) -> list[Pixels]:
    """One tile a map, brighter where it is stronger, on one scale for the whole layer."""
    values = np.abs(layer.maps)
    return [shrunk(heat(each, float(values.max())), _TILE) for each in values]


def _strongest(block: Block, values: NDArray[np.float32]) -> FeatureMaps:
    by_variance = np.argsort(values.var(axis=(0, 1)), kind="stable")[::-1][:MAPS]
    return FeatureMaps(block, values[..., np.sort(by_variance)].transpose(2, 0, 1))
