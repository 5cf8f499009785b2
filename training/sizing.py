"""Fits a recipe to the number of training pictures: few pictures make short epochs, and a network learns by steps.

Thirty epochs of 5,000 pictures are thousands of steps; of 100 they are thirty, which end before the learning rate has
risen and the normalisation's statistics have settled. Called by `training.cli` once the pictures are counted.
"""

import dataclasses
import math

from training.config import TrainingConfig

_STEPS = 8  # of an epoch, below which a batch is too much of the pictures


def sized(config: TrainingConfig, pictures: int) -> TrainingConfig:
    """The configuration for so many training pictures: with smaller batches, and with more epochs, none of them spared.

    `least_batch` and `least_steps` are the limits; where there are steps enough, nothing changes, so neither does it
    when asked again. Patience ends with the need for more epochs: on as few validation pictures, a lucky early epoch
    would end the run before it has learnt.
    """
    config = dataclasses.replace(config, batch_size=_batch_size(config, pictures))
    epochs = math.ceil(config.least_steps / steps_of_epoch(config, pictures))
    if epochs <= config.epochs:
        return config
    times = epochs / config.epochs
    first = None if config.head_epochs is None else round(config.head_epochs * times)
    return dataclasses.replace(config, epochs=epochs, patience=0, head_epochs=first)


def _batch_size(config: TrainingConfig, pictures: int) -> int:
    size = config.batch_size
    while 0 < 2 * config.least_batch <= size and pictures < _STEPS * size:
        size //= 2
    return size


def steps_of_epoch(config: TrainingConfig, pictures: int) -> int:
    """How many batches an epoch has; pictures that do not fill one wait for another epoch."""
    return pictures // min(config.batch_size, pictures)
