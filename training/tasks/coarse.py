"""One picture and two questions: its class, and the coarser one that the dataset puts this class into."""

import numpy as np

from training.datasets import Dataset, Split
from training.errors import ConfigInvalid
from training.tasks import classification
from training.tasks.task import CLASS_HEAD, Examples, HeadSpec, Task

COARSE_HEAD = "coarse"


def task(dataset: Dataset) -> Task:
    """The coarse labels are in the order in which the classes first name them.

    Raises ConfigInvalid for a dataset without coarser classes.
    """
    if dataset.coarse_names is None:
        raise ConfigInvalid(
            f"dataset {dataset.name!r} does not say which coarser class each class belongs to, so there is nothing for "
            f"a head {COARSE_HEAD!r} to learn; choose an architecture with one head, such as sequential"
        )
    labels = tuple(dict.fromkeys(dataset.coarse_names))
    coarse_of = np.array([labels.index(name) for name in dataset.coarse_names], np.int64)

    def examples(split: Split, seed: int) -> Examples:  # noqa: ARG001 - nothing is drawn
        return Examples(
            {classification.INPUT: np.arange(len(split))},
            {CLASS_HEAD: split.labels, COARSE_HEAD: coarse_of[split.labels]},
        )

    heads = (HeadSpec(CLASS_HEAD, dataset.class_names), HeadSpec(COARSE_HEAD, labels))
    return Task((classification.INPUT,), heads, examples)
