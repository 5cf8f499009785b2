"""The architectures by name, each with the task that it answers.

Each takes the pictures' shape, the number of labels by head and the dropout, and gives an untrained model that is asked
by name: a dict of uint8 [n, height, width, channels] by input in, a dict of probabilities float32 [n, labels] by output
out. What scales the pixels is part of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from training.architectures import sequential
from training.datasets import Dataset
from training.errors import ConfigInvalid
from training.tasks import TASKS, Task

Build = Callable[[tuple[int, int, int], Mapping[str, int], float], keras.Model]


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a model is built, and the name of the task that it answers."""

    build: Build
    task: str = "classification"


ARCHITECTURES: dict[str, Architecture] = {
    "sequential": Architecture(sequential.build),
}


def build(name: str, image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float) -> keras.Model:
    """The untrained model for `heads`, the number of labels by the head's name.

    Raises ConfigInvalid for a name that is not there, listing those that are.
    """
    return _architecture(name).build(image_shape, heads, dropout)


def task_of(name: str, dataset: Dataset) -> Task:
    """What the architecture answers about a dataset. Raises ConfigInvalid, also where the dataset does not fit."""
    return TASKS[_architecture(name).task](dataset)


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise ConfigInvalid(f"there is no architecture {name!r}; choose from {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
