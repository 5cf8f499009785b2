"""A dataset in memory, ready to train on: three splits of uint8 pictures with their labels.

Owns the two values and the digest that identifies them. The splits never depend on a run's seed, so two runs are judged
on the same pictures. Made by the loaders beside it; read by training, evaluation and the golden samples.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.datasets.encoding import encode


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Pictures, uint8 [n, height, width, channels], and their class indices, int64 [n]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Split":
        """The first `count` pictures, or all where there are fewer."""
        return Split(self.images[:count], self.labels[:count])

    def encoded(self, index: int) -> bytes:
        """The picture as the file that a user has: a PNG of exactly these pixels."""
        return encode(self.images[index])


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """`digest` identifies the content of all splits: "sha256:" and 64 hex digits.

    `coarse_names` holds for each class, in their order, the name of the coarser class that it belongs to; None where
    the dataset has none.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    digest: str
    coarse_names: tuple[str, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every picture."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    def limited(self, count: int | None) -> "Dataset":
        """The dataset with at most `count` training pictures; validation and test stay whole."""
        return self if count is None else replace(self, train=self.train.first(count))
