"""A foreign model as its owner gave it: what its file says, and the means to ask it and to wrap it.

The invariant: `predict` runs the file's own graph and nothing of ours, so what it answers can prove the export. Made by
`keras_file`, `saved_model` and `onnx_file`; read by `deciding` and `publish`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import TensorSpec
from training.foreign.contract import Contract

Array = NDArray[Any]
Arrays = dict[str, Array]

# Whoever scales 0..255 gets a few units (1/255: 1, 1/127.5: 2, ImageNet's mean and std: 4.9), or only moves zero into
# the middle of the range. A layer that was made for pixels of 0..1 gives hundreds.
_WIDEST = 16.0


@dataclass(frozen=True, slots=True)
class Opening:
    """What the graph does with pixels before its first convolution or matrix product.

    `steps` are the arithmetic operators found there; `black` and `white` are the lowest and the highest number that
    pixels of 0 and of 255 have become after them, as the graph itself computes it.
    """

    steps: tuple[str, ...] = ()
    black: float = 0.0
    white: float = 255.0

    @property
    def takes_raw(self) -> bool:
        """Whether the graph was made for pixels of 0..255, because it scales or centres them itself."""
        narrow = max(abs(self.black), abs(self.white)) <= _WIDEST
        centred = -255 <= self.black <= -_WIDEST and _WIDEST <= self.white <= 255  # noqa: PLR2004
        return bool(self.steps) and (narrow or centred)

    def __str__(self) -> str:
        return (
            f"its first steps ({', '.join(self.steps)}) turn pixels of 0..255 into {self.black:.3g}..{self.white:.3g}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """`predict` takes an array as the file's own input wants it, any number of rows, and gives every output.

    `last_steps` tells for an output the operator that makes it, where that could be found out. `formats` are those that
    `write` may write: it builds the wrapped graph into a folder and gives those it could, with a sentence for each it
    could not. `notes` are for the person who publishes.
    """

    path: Path
    kind: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    predict: Callable[[Array], Arrays]
    write: Callable[[Contract, Path], "Written"]
    opening: Opening = Opening()
    last_steps: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The formats that were written, the best first, and a sentence for each that could not be."""

    formats: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def constant_pictures(spec: TensorSpec) -> tuple[Array, Array]:
    """One batch of black pictures and one of white ones, as the input takes them; open sizes become small."""
    batch, *sizes = spec.shape
    shape = (batch or 1, *(size or _small(spec.shape, place) for place, size in enumerate(sizes, start=1)))
    return np.zeros(shape, spec.dtype), np.full(shape, 255, spec.dtype)


def _small(shape: tuple[int | None, ...], place: int) -> int:
    """A size for a dimension left open: colours where only the last one can be the channels, else a small side."""
    colours, side = 3, 32
    return colours if place == len(shape) - 1 and place > 2 and shape[1] not in {1, colours} else side  # noqa: PLR2004


def in_fixed_batches(run: Callable[[Array], Arrays], rows: int) -> Callable[[Array], Arrays]:
    """Makes a graph that takes exactly `rows` rows at once take any number; the last run is filled by repeating."""

    def predict(pictures: Array) -> Arrays:
        count = len(pictures)
        filled = pictures[np.arange(-(-count // rows) * rows) % count]
        answers = [run(filled[start : start + rows]) for start in range(0, len(filled), rows)]
        return {name: np.concatenate([answer[name] for answer in answers])[:count] for name in answers[0]}

    return predict
