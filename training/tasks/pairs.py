"""Two pictures, and whether they show the same class: what a siamese network is asked.

Every picture of a split is the left one of one pair. Half of the pairs are of the same class, and a picture is never
paired with itself where its class has another. Drawing is vectorised: a split of 60,000 takes milliseconds.
"""

import numpy as np

from training.datasets import Dataset, Split
from training.errors import ConfigInvalid
from training.tasks.task import Examples, HeadSpec, Task

LEFT, RIGHT = "left", "right"
SAME_HEAD = "same"
LABELS = ("different", "same")


def task(dataset: Dataset) -> Task:
    """As many pairs as the split has pictures, in the order of the left ones.

    Raises ConfigInvalid where a split has pictures of one class only, of which there are no pairs of different ones.
    """
    splits = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for name, split in splits.items():
        if (split.labels == split.labels[0]).all():
            only = dataset.class_names[split.labels[0]]
            raise ConfigInvalid(
                f"the {name} pictures of {dataset.name!r} are all of one class, {only!r}, "
                "but pairs of different classes are needed; add pictures of another"
            )
    return Task((LEFT, RIGHT), (HeadSpec(SAME_HEAD, LABELS),), _examples)


def _examples(split: Split, seed: int) -> Examples:
    labels, count = split.labels, len(split)
    by_class = np.argsort(labels, kind="stable")
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    size, start = sizes[classes], starts[classes]  # of each picture's class within by_class
    position = np.empty(count, np.int64)
    position[by_class] = np.arange(count)

    random = np.random.default_rng(seed)
    same = random.permutation(np.arange(count) % 2)
    # Of the same class: some steps further within its block, and round; never the whole way round.
    mate = start + (position - start + random.integers(1, np.maximum(size, 2))) % size
    # Of another class: one of those that are left when its block is cut out.
    other = random.integers(0, count - size)
    other += np.where(other >= start, size, 0)
    right = by_class[np.where(same == 1, mate, other)]
    return Examples({LEFT: np.arange(count), RIGHT: right}, {SAME_HEAD: same})
