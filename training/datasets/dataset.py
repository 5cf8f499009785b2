"""A dataset ready to train on: three splits of uint8 pictures with their labels, and how files become such pictures.

The pixels of a split may be a memory-mapped file, so nothing here or above copies a split as a whole. Made by the
loaders beside this; read by every later step of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Preprocessing
from training.datasets.encoding import encode

Resize = Literal["stretch", "crop", "pad"]
Kernel = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Pictures, uint8 [n, height, width, channels], and their class indices, int64 [n].

    `files` are the original files, where the pictures came from files: in the same order, at least as many.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: Sequence[Path] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Split":
        """The first `count` pictures, or all where there are fewer."""
        return Split(self.images[:count], self.labels[:count], self.files)

    def encoded(self, index: int) -> bytes:
        """The picture as the file that a user has: the original, or a PNG of the pixels where there never was one."""
        return encode(self.images[index]) if self.files is None else self.files[index].read_bytes()


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """`digest` identifies the content of all splits: "sha256:" and 64 hex digits.

    `coarse_names` holds for each class, in their order, the name of the coarser class that it belongs to; None where
    the dataset has none. `resize` and `kernel` are how a file of another size becomes pixels, in the words of
    `bundle.manifest`.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    digest: str
    coarse_names: tuple[str, ...] | None = None
    resize: Resize = "stretch"
    kernel: Kernel = "bilinear"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every picture."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    def preprocessing(self, name: str) -> Preprocessing:
        """What a server must do with a file, so that the model's input `name` gets the pixels it was trained on."""
        height, width, channels = self.image_shape
        return Preprocessing(
            input=name,
            height=height,
            width=width,
            channels=1 if channels == 1 else 3,
            resize=self.resize,
            kernel=self.kernel,
        )

    def limited(self, count: int | None) -> "Dataset":
        """The dataset with at most `count` training pictures; validation and test stay whole."""
        return self if count is None else replace(self, train=self.train.first(count))
