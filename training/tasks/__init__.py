"""The tasks by name: which pictures of a split make one example, and what must be answered about it.

A task is made for a dataset, whose classes it knows. Which one an architecture answers is in its table,
`training.architectures.ARCHITECTURES`.
"""

from collections.abc import Callable

from training.datasets import Dataset
from training.tasks import classification, coarse, pairs
from training.tasks.task import CLASS_HEAD, FIXED_SEED, Examples, HeadSpec, Task, output_name

__all__ = ["CLASS_HEAD", "FIXED_SEED", "TASKS", "Examples", "HeadSpec", "Task", "output_name"]

TASKS: dict[str, Callable[[Dataset], Task]] = {
    "classification": classification.task,
    "coarse": coarse.task,
    "pairs": pairs.task,
}
