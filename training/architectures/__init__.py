"""The architectures by name, each with the task that it answers.

Each takes the pictures' shape, the number of labels by head and the dropout, and gives an untrained model that is asked
by name: a dict of uint8 [n, height, width, channels] by input in, a dict of probabilities float32 [n, labels] by output
out. What scales the pixels is part of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from training.architectures import accurate, multi_output, residual, separable, sequential, siamese, transfer
from training.datasets import Dataset
from training.errors import ConfigInvalid
from training.tasks import TASKS, Task

Option = str | int | None


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a model is built, the name of the task that it answers, and the options that only it has."""

    build: Callable[..., keras.Model]
    task: str = "classification"
    options: tuple[str, ...] = ()


ARCHITECTURES: dict[str, Architecture] = {
    "sequential": Architecture(sequential.build),
    "accurate": Architecture(accurate.build),
    "residual": Architecture(residual.build),
    "separable": Architecture(separable.build),
    "multi_output": Architecture(multi_output.build, task="coarse"),
    "siamese": Architecture(siamese.build, task="pairs"),
    "transfer": Architecture(transfer.build, options=("backbone", "weights", "fine_tune")),
}


def build(
    name: str, image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float, **options: Option
) -> keras.Model:
    """The untrained model for `heads`, the number of labels by the head's name.

    `options` are the architecture's own; those that are None or 0 are as if not given. Raises ConfigInvalid for a name
    that is not there, listing those that are, and for an option that the architecture does not have;
    WeightsUnavailable.
    """
    architecture = _architecture(name)
    given = {option: value for option, value in options.items() if value}
    for option in given.keys() - set(architecture.options):
        having = [other for other, one in ARCHITECTURES.items() if option in one.options]
        raise ConfigInvalid(f"architecture {name} has no {option}; leave it out, or choose {', '.join(having)}")
    return architecture.build(image_shape, heads, dropout, **given)


def task_of(name: str, dataset: Dataset) -> Task:
    """What the architecture answers about a dataset. Raises ConfigInvalid, also where the dataset does not fit."""
    return TASKS[_architecture(name).task](dataset)


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise ConfigInvalid(f"there is no architecture {name!r}; choose from {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
