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
from training.foreign.opening import Opening

Array = NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """`predict` takes an array as the file's own input wants it, any number of rows, and gives every output.

    `write` builds the graph that is served into a folder; `look`, where there are Keras layers to look into, gives the
    Keras model of uint8 pixels that shows them. `last_steps` tells for an output the operator that makes it,
    where that could be found out. `notes` are sentences for the person who publishes.
    """

    path: Path
    kind: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    predict: Callable[[Array], Arrays]
    write: Callable[[Contract, Path], "Written"]
    look: Callable[[Contract], Any] | None = None
    opening: Opening = Opening()
    last_steps: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The formats that were written, the best first, and a sentence for each that could not be."""

    formats: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def in_fixed_batches(run: Callable[[Array], Arrays], rows: int) -> Callable[[Array], Arrays]:
    """Makes a graph that takes exactly `rows` rows at once take any number; the last run is filled by repeating."""

    def predict(pictures: Array) -> Arrays:
        count = len(pictures)
        filled = pictures[np.arange(-(-count // rows) * rows) % count]
        answers = [run(filled[start : start + rows]) for start in range(0, len(filled), rows)]
        return {name: np.concatenate([answer[name] for answer in answers])[:count] for name in answers[0]}

    return predict
