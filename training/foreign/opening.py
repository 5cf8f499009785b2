"""What a graph does with pixels before it begins to look at them: its own preprocessing, found by following the input.

From the input on, everything is followed that is arithmetic with constants or mere form, until the first convolution,
matrix product or pooling. What black and white pictures have become there, the graph itself computes. Used by
`tf_graph` and `onnx_file`, read by `taking`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import TensorSpec

# Whoever scales 0..255 gets a few units (1/255: 1, 1/127.5: 2, ImageNet's mean and std: 4.9), or only moves zero into
# the middle of the range. A layer that was made for pixels of 0..1 gives hundreds.
_WIDEST = 16.0
_BRIGHTEST = 255.0
_SIDE = 32
_COLOURS = 3


@dataclass(frozen=True, slots=True)
class Opening:
    """`steps` are the arithmetic operators before the first layer; `black` and `white` are the lowest and the highest
    number that pixels of 0 and of 255 have become after them.
    """

    steps: tuple[str, ...] = ()
    black: float = 0.0
    white: float = _BRIGHTEST

    @property
    def takes_raw(self) -> bool:
        """Whether the graph was made for pixels of 0..255, because it scales or centres them itself."""
        narrow = max(abs(self.black), abs(self.white)) <= _WIDEST
        centred = -_BRIGHTEST <= self.black <= -_WIDEST and _WIDEST <= self.white <= _BRIGHTEST
        return bool(self.steps) and (narrow or centred)

    def __str__(self) -> str:
        return (
            f"its first steps ({', '.join(self.steps)}) turn pixels of 0..255 into {self.black:.3g}..{self.white:.3g}"
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """One operator of a graph, with the names of the values that it takes and gives."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kinds:
    """The operators of one format that may stand before the first layer; `shape` ones only look at a value's shape."""

    arithmetic: frozenset[str]
    form: frozenset[str]
    shape: frozenset[str]


def first_layer(start: str, operations: Iterable[Operation], kinds: Kinds) -> tuple[str, tuple[str, ...]] | None:
    """The one value that the first layers take, and the arithmetic on the way to it; None where there is not one.

    `operations` are in an order in which every value is made before it is used.
    """
    made_of_pixels, steps, taken = {start}, [], set()
    for operation in operations:
        pixels = made_of_pixels.intersection(operation.inputs)
        if not pixels or operation.kind in kinds.shape:
            continue
        if operation.kind in kinds.arithmetic | kinds.form:
            made_of_pixels.update(operation.outputs)
            steps += [operation.kind] if operation.kind in kinds.arithmetic else []
        else:
            taken |= pixels
    return (taken.pop(), tuple(steps)) if len(taken) == 1 else None


def constant_pictures(spec: TensorSpec) -> tuple[NDArray[Any], NDArray[Any]]:
    """A batch of black pictures and one of white ones, as the input takes them; open sizes become small."""
    sizes = list(spec.shape)
    if len(sizes) > _COLOURS and sizes[-1] is None and sizes[1] not in {1, _COLOURS}:
        sizes[-1] = _COLOURS
    shape = (sizes[0] or 1, *(size or _SIDE for size in sizes[1:]))
    return np.zeros(shape, spec.dtype), np.full(shape, _BRIGHTEST, spec.dtype)
