"""Measures the exported model the way it will be used: encoded test pictures in, answers out.

Pictures are written as PNG files, read by `bundle.preprocessing` and run by ONNX Runtime, so the accuracy that is
published is the one that a server with the same bundle gives. Keras is not involved. Called by `training.publish`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Preprocessing
from bundle.postprocessing import top_k
from bundle.preprocessing import decode
from training import replay
from training.datasets import Split
from training.datasets.encoding import encode

_BATCH_SIZE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The model's answers to every test picture, in their order.

    `labels` and `predicted` are class indices, int64 [n]; `scores` are the predicted classes' probabilities, float32
    [n].
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    scores: NDArray[np.float32]
    classes: int

    @property
    def accuracy(self) -> float:
        """The share of pictures whose best class is their label."""
        return float((self.predicted == self.labels).mean())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often each class (row) was answered as each class (column), int64 [classes, classes]."""
        counts = np.bincount(self.labels * self.classes + self.predicted, minlength=self.classes**2)
        return counts.reshape(self.classes, self.classes)

    @property
    def precision(self) -> NDArray[np.float64]:
        """For each class the share of its answers that are right, float64 [classes]; 0 where it was never answered."""
        return _shares(self.confusion, axis=0)

    @property
    def recall(self) -> NDArray[np.float64]:
        """For each class the share of its pictures that were found, float64 [classes]; 0 where it has no picture."""
        return _shares(self.confusion, axis=1)


def evaluate(folder: Path, split: Split, spec: Preprocessing, output: str) -> Evaluation:
    """Asks the ONNX model in `folder` about every picture of the split and takes the best class of `output`."""
    pixels = np.stack([decode(encode(image), spec) for image in split.images])
    probabilities = replay.in_batches(replay.open_onnx(folder), {spec.input: pixels}, _BATCH_SIZE)[output]
    best, scores = top_k(probabilities, 1)
    return Evaluation(split.labels, best[:, 0], scores[:, 0], probabilities.shape[1])


def _shares(confusion: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
    """The diagonal over the sums along an axis; 0 where a sum is 0."""
    shares: NDArray[np.float64] = np.diag(confusion) / np.maximum(confusion.sum(axis=axis), 1)
    return shares
