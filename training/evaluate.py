"""Measures the exported model the way it will be used: encoded test pictures in, answers out.

Pictures are taken as the files that a user has, read by `bundle.preprocessing` and run by the exported file's own
runtime, so the accuracy that is published is the one that a server with the same bundle gives. Keras is not involved.
Called by `training.publish`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Preprocessing
from bundle.postprocessing import top_k
from bundle.preprocessing import decode
from training.datasets import Split
from training.replay import Arrays, Run
from training.tasks import FIXED_SEED, Examples, Task

_BATCH_SIZE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One head's answers to every example of a split, in their order.

    `labels` and `predicted` are class indices, int64 [n]; `scores` are the predicted classes' probabilities, float32
    [n].
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    scores: NDArray[np.float32]
    classes: int

    @property
    def accuracy(self) -> float:
        """The share of examples whose best class is their label."""
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
        """For each class the share of its examples that were found, float64 [classes]; 0 where it has none."""
        return _shares(self.confusion, axis=1)

    @property
    def f1(self) -> NDArray[np.float64]:
        """For each class the harmonic mean of precision and recall, float64 [classes]; 0 where both are 0."""
        both = self.precision + self.recall
        mean: NDArray[np.float64] = 2 * self.precision * self.recall / np.where(both > 0, both, 1)
        return mean


def evaluate(run: Run, split: Split, task: Task, preprocessing: Sequence[Preprocessing]) -> dict[str, Evaluation]:
    """Asks an opened file (`training.replay`) about every example of the split; the answers by head.

    `preprocessing` has one entry for each input of the task. Pictures are decoded batch by batch, so a split of any
    size takes the memory of one.
    """
    examples = task.examples(split, FIXED_SEED)
    batches = [examples[start : start + _BATCH_SIZE] for start in range(0, len(examples), _BATCH_SIZE)]
    best = [_best(run(decoded(batch, split, preprocessing)), task) for batch in batches]
    return {
        head.name: Evaluation(
            examples.targets[head.name],
            np.concatenate([answers[head.name][0] for answers in best]),
            np.concatenate([answers[head.name][1] for answers in best]),
            len(head.labels),
        )
        for head in task.heads
    }


def decoded(examples: Examples, split: Split, preprocessing: Sequence[Preprocessing]) -> Arrays:
    """The examples' pixels as a server would have them, uint8 [n, height, width, channels] by input name."""
    return {
        spec.input: np.stack([decode(split.encoded(int(index)), spec) for index in examples.inputs[spec.input]])
        for spec in preprocessing
    }


def _best(outputs: Arrays, task: Task) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The best class of every row and its probability, by head."""
    best = {head.name: top_k(outputs[head.output], 1) for head in task.heads}
    return {name: (classes[:, 0], scores[:, 0]) for name, (classes, scores) in best.items()}


def _shares(confusion: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
    """The diagonal over the sums along an axis; 0 where a sum is 0."""
    shares: NDArray[np.float64] = np.diag(confusion) / np.maximum(confusion.sum(axis=axis), 1)
    return shares
