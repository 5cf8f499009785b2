"""The architectures by name, each with the task that it answers.

Each takes the pictures' shape, the number of labels by head and the dropout, and gives an untrained model that is asked
by name: a dict of uint8 [n, height, width, channels] by input in, a dict of probabilities float32 [n, labels] by output
out. What scales the pixels is part of it. The table itself is known without Keras: a name or an option that is not
there is told before anything heavy is loaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from training.architectures import backbones
from training.config import TrainingConfig
from training.datasets import COARSE, Dataset
from training.errors import ConfigInvalid
from training.tasks import TASKS, Task

if TYPE_CHECKING:
    import keras

Option = str | int | None


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a model is built, the name of the task that it answers, and the options that only it has.

    `maps` says whether it ends as class-activation maps need it.
    """

    build: "Callable[..., keras.Model]"
    task: str = "classification"
    options: tuple[str, ...] = ()
    maps: bool = True


def _module(name: str) -> "Callable[..., keras.Model]":
    """The `build` of the module of that name, which is imported when it is first called."""
    return lambda *args, **options: import_module(f"{__name__}.{name}").build(*args, **options)


ARCHITECTURES: dict[str, Architecture] = {
    "sequential": Architecture(_module("sequential"), maps=False),
    "accurate": Architecture(_module("accurate")),
    "wide": Architecture(_module("wide")),
    "residual": Architecture(_module("residual")),
    "separable": Architecture(_module("separable")),
    "multi_output": Architecture(_module("multi_output"), task="coarse"),
    "siamese": Architecture(_module("siamese"), task="pairs", maps=False),
    "transfer": Architecture(_module("transfer"), options=("backbone", "weights", "fine_tune")),
}


_OPTIONS = tuple(dict.fromkeys(option for one in ARCHITECTURES.values() for option in one.options))


def check(config: TrainingConfig) -> None:
    """Raises ConfigInvalid and WeightsUnavailable for what can be known to fail without Keras and without pictures."""
    architecture = _architecture(config.architecture)
    _given(config.architecture, {option: getattr(config, option) for option in _OPTIONS})
    backbones.check(config.backbone, config.weights)
    _check_fine_tuning(config)
    if architecture.task == "coarse" and config.dataset not in COARSE:
        raise ConfigInvalid(
            f"architecture {config.architecture} also answers coarser classes, which only {', '.join(COARSE)} has; "
            "choose another, such as accurate"
        )
    if config.explain and not architecture.maps:
        having = [name for name, one in ARCHITECTURES.items() if one.maps]
        raise ConfigInvalid(
            f"--explain: architecture {config.architecture} does not end in one Dense layer on averaged features, so "
            f"it has no class-activation maps; choose {', '.join(having)}, or leave out --explain"
        )


def _check_fine_tuning(config: TrainingConfig) -> None:
    if config.fine_tune and config.weights == backbones.NO_WEIGHTS:
        raise ConfigInvalid("without weights all of the backbone is trained; leave out fine_tune, or give weights")
    if config.head_epochs is not None and not config.fine_tune:
        raise ConfigInvalid(
            "head_epochs are those before fine_tune; leave them out, or say how many layers to fine-tune"
        )
    if (config.head_epochs or 0) >= config.epochs:
        raise ConfigInvalid(
            f"head_epochs is {config.head_epochs} of {config.epochs} epochs, which leaves none to fine-tune in; "
            "take fewer, or more epochs"
        )


def build(
    name: str, image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float, **options: Option
) -> "keras.Model":
    """The untrained model for `heads`, the number of labels by the head's name.

    `options` are the architecture's own; those that are None or 0 are as if not given. Raises ConfigInvalid for a name
    that is not there, listing those that are, and for an option that the architecture does not have;
    WeightsUnavailable.
    """
    given = _given(name, options)
    return _architecture(name).build(image_shape, heads, dropout, **given)


def _given(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are given. Raises ConfigInvalid for one that the architecture does not have."""
    given = {option: value for option, value in options.items() if value}
    for option in sorted(given.keys() - set(_architecture(name).options)):
        having = [other for other, one in ARCHITECTURES.items() if option in one.options]
        raise ConfigInvalid(f"architecture {name} has no {option}; leave it out, or choose {', '.join(having)}")
    return given


def task_of(name: str, dataset: Dataset) -> Task:
    """What the architecture answers about a dataset. Raises ConfigInvalid, also where the dataset does not fit."""
    return TASKS[_architecture(name).task](dataset)


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise ConfigInvalid(f"there is no architecture {name!r}; choose from {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
