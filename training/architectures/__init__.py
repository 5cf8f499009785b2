"""The architectures by name. Each takes the pictures' shape and the number of classes, and gives an untrained model."""

from collections.abc import Callable

import keras

from training.architectures import sequential
from training.errors import ConfigInvalid

Architecture = Callable[[tuple[int, int, int], int, float], keras.Model]

ARCHITECTURES: dict[str, Architecture] = {"sequential": sequential.build}


def build(name: str, image_shape: tuple[int, int, int], classes: int, dropout: float) -> keras.Model:
    """The untrained model: uint8 [n, height, width, channels] in, probabilities float32 [n, classes] out.

    Raises ConfigInvalid for a name that is not there, listing those that are.
    """
    if name not in ARCHITECTURES:
        raise ConfigInvalid(f"there is no architecture {name!r}; choose from {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name](image_shape, classes, dropout)
