"""What is usual for a model, as the manifest keeps it: a server can compare what it sees and answers with it.

Called by `training.publish`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import HeadStatistics, InputStatistics, Statistics
from training.datasets import Split
from training.evaluate import Evaluation
from training.tasks import FIXED_SEED, Task

BINS = 20

_PICTURES = 1024  # read at a time: a split may be larger than memory


def statistics(train: Split, task: Task, evaluations: Mapping[str, Evaluation]) -> Statistics:
    """Pixels and classes of the training split, and how sure the exported model's test answers were, by head.

    All inputs of a task are pictures of one split, so their pixels have the same statistics.
    """
    targets = task.examples(train, FIXED_SEED).targets
    return Statistics(
        inputs=dict.fromkeys(task.inputs, pixel_statistics(train.images)),
        heads={
            head.name: HeadStatistics(
                prior=class_prior(targets[head.name], len(head.labels)),
                confidence=confidence_histogram(evaluations[head.name].scores),
            )
            for head in task.heads
        },
    )


def pixel_statistics(images: NDArray[np.uint8]) -> InputStatistics:
    """Mean and standard deviation of each channel of uint8 [n, height, width, channels], from exact sums."""
    channels = images.shape[3]
    total, squares = np.zeros(channels, np.uint64), np.zeros(channels, np.uint64)
    for start in range(0, len(images), _PICTURES):
        pixels = np.asarray(images[start : start + _PICTURES], np.uint32)
        total += pixels.sum(axis=(0, 1, 2), dtype=np.uint64)
        squares += np.square(pixels).sum(axis=(0, 1, 2), dtype=np.uint64)
    count = images.size // channels
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return InputStatistics(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def class_prior(labels: NDArray[np.int64], classes: int) -> tuple[float, ...]:
    """Each class's share of the labels."""
    return tuple((np.bincount(labels, minlength=classes) / len(labels)).tolist())


def confidence_histogram(scores: NDArray[np.float32]) -> tuple[int, ...]:
    """How many of the best scores fall into each of 20 equally wide bins from 0 to 1."""
    counts, _ = np.histogram(np.clip(scores, 0, 1), bins=BINS, range=(0, 1))
    return tuple(counts.tolist())
