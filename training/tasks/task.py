"""What a model is asked, as values: inputs, heads, and the examples of a split.

Examples are indices into the split's pictures, so pixels are never copied, however many inputs a model has. Made by the
modules beside this one; read by training, evaluation, the golden samples and publishing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.datasets import Split

CLASS_HEAD = "class"
# The seed of the examples on which models are judged, so that two runs are judged on the same ones.
FIXED_SEED = 0


def output_name(head: str) -> str:
    """How the exported graph calls the probabilities of a head: that of the classes has the plain name."""
    return "probabilities" if head == CLASS_HEAD else f"{head}_probabilities"


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One question about an example: its name, and its possible answers in the order of their index."""

    name: str
    labels: tuple[str, ...]

    @property
    def output(self) -> str:
        """The name of the model's output, float32 [n, labels]."""
        return output_name(self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Examples of one split.

    `inputs` holds for each input of the model the index of its picture, int64 [n]; `targets` holds for each head the
    index of the right label, int64 [n].
    """

    inputs: dict[str, NDArray[np.int64]]
    targets: dict[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, rows: "slice | NDArray[np.int64]") -> "Examples":
        """Some of the examples, in the order of `rows`."""
        return Examples(
            {name: indices[rows] for name, indices in self.inputs.items()},
            {name: indices[rows] for name, indices in self.targets.items()},
        )


@dataclass(frozen=True, slots=True)
class Task:
    """What a model takes and answers. The first head is the main one, whose accuracy is the model's.

    `examples` gives a split's examples; the same split and seed give the same ones.
    """

    inputs: tuple[str, ...]
    heads: tuple[HeadSpec, ...]
    examples: Callable[[Split, int], Examples]

    @property
    def classes(self) -> dict[str, int]:
        """The number of labels by head."""
        return {head.name: len(head.labels) for head in self.heads}
