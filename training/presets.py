"""The recipes that Convoy ships, by name: a configuration each, with what it gives and how long it takes.

`convoy train fashion_mnist` takes the recipe of that name, `--preset quick` the one named `fashion_mnist_quick`. The
recipes for `pictures` are for whatever comes as files, from keras.datasets or from TensorFlow Datasets.
"""

import dataclasses
from collections.abc import Callable

from training.config import TrainingConfig
from training.datasets import DATASETS, FILES, fashion_mnist
from training.errors import ConfigInvalid

_PICTURES = "pictures"


def _fashion_mnist() -> TrainingConfig:
    """Ten kinds of clothing, 28x28 grey: `convoy train fashion_mnist`.

    On two CPU cores the command took 10 min 13 s, report included. Test accuracy 93.2% with seed 0.
    """
    return TrainingConfig(
        dataset=fashion_mnist.NAME,
        architecture="accurate",
        name=fashion_mnist.NAME,
        epochs=15,
        batch_size=128,
        learning_rate=4e-3,
        weight_decay=0.02,
        warmup=0.15,
        label_smoothing=0.05,
        dropout=0.15,
        flip=True,
        shift=2,
    )


def _fashion_mnist_quick() -> TrainingConfig:
    """The demo's: `convoy train fashion_mnist --preset quick`.

    On two CPU cores the command took 76 s, report included. Test accuracy 92.2% with seed 0.
    """
    return TrainingConfig(
        dataset=fashion_mnist.NAME,
        architecture="sequential",
        name=fashion_mnist.NAME,
        epochs=6,
        batch_size=128,
        learning_rate=3e-3,
        weight_decay=0.01,
        warmup=0.15,
        dropout=0.2,
        flip=True,
    )


def _fashion_mnist_long() -> TrainingConfig:
    """For accuracy rather than time: `convoy train fashion_mnist --preset long`.

    Test accuracy 94.4% with seed 0 and `--precision mixed_bfloat16`, which suits processors with AMX: there it took 63
    minutes of CPU time, report included. A step of it took 148 ms on two cores, and 270 ms in float32.
    """
    return dataclasses.replace(
        _fashion_mnist(),
        architecture="wide",
        epochs=30,
        learning_rate=3e-3,
        dropout=0.2,
        cutout=8,
        average=0.998,
    )


def _pictures() -> TrainingConfig:
    """Pictures in colour, of any size: `convoy train --data FOLDER`."""
    return TrainingConfig(
        dataset=FILES,
        architecture="accurate",
        name=_PICTURES,
        epochs=30,
        least_steps=600,
        batch_size=64,
        least_batch=16,
        learning_rate=2e-3,
        weight_decay=0.02,
        warmup=0.15,
        label_smoothing=0.05,
        dropout=0.2,
        patience=10,
        flip=True,
        shift=4,
        zoom=0.1,
        brightness=0.1,
        contrast=0.1,
    )


def _pictures_quick() -> TrainingConfig:
    """A first look at pictures in files: `convoy train --data FOLDER --preset quick`."""
    return dataclasses.replace(
        _pictures(), architecture="sequential", epochs=8, least_steps=200, patience=0, height=32, width=32
    )


PRESETS: dict[str, Callable[[], TrainingConfig]] = {
    "fashion_mnist": _fashion_mnist,
    "fashion_mnist_quick": _fashion_mnist_quick,
    "fashion_mnist_long": _fashion_mnist_long,
    "pictures": _pictures,
    "pictures_quick": _pictures_quick,
}


def preset(dataset: str, variant: str | None = None) -> TrainingConfig:
    """The recipe for a dataset, or its variant such as "quick". Raises ConfigInvalid, which lists those there are."""
    if dataset not in {fashion_mnist.NAME, FILES} and not dataset.startswith(("keras:", "tfds:")):
        raise ConfigInvalid(
            f"there is no dataset {dataset!r}; choose from {', '.join(DATASETS)}, or give a folder or table by --data"
        )
    family = _family(dataset)
    name = family if variant is None else f"{family}_{variant}"
    if name not in PRESETS:
        known = ", ".join(variants(dataset))
        what = "pictures in files" if dataset == FILES else dataset
        raise ConfigInvalid(f"there is no preset {variant!r} for {what}; choose from {known}")
    return dataclasses.replace(PRESETS[name](), dataset=dataset)


def variants(dataset: str) -> tuple[str, ...]:
    """The names that `preset` takes as a variant for a dataset."""
    begins = f"{_family(dataset)}_"
    return tuple(name.removeprefix(begins) for name in PRESETS if name.startswith(begins))


def is_own(config: TrainingConfig, knob: str) -> bool:
    """Whether a setting is as a recipe for that dataset and architecture has it, so perhaps nobody has said it."""
    recipes = [make() for name, make in PRESETS.items() if name.startswith(_family(config.dataset))]
    alike = [recipe for recipe in recipes if recipe.architecture == config.architecture]
    return getattr(config, knob) in [getattr(recipe, knob) for recipe in alike]


def _family(dataset: str) -> str:
    return fashion_mnist.NAME if dataset == fashion_mnist.NAME else _PICTURES
