"""Fits a recipe to the number of training pictures: few pictures make short epochs, and a network learns by steps.

Thirty epochs of 5,000 pictures are thousands of steps; of 100 they are thirty, which end before the learning rate has
risen and the normalisation's statistics have settled. Called by `training.cli` once the pictures are counted.
"""

import dataclasses
import math

from training.config import TrainingConfig


def sized(config: TrainingConfig, pictures: int) -> TrainingConfig:
    """The configuration with as many epochs as `least_steps` take, and its patience as many times as long.

    `pictures` are those that are trained on. Changes nothing where there are steps enough, so neither the second time.
    """
    epochs = math.ceil(config.least_steps / steps_of_epoch(config, pictures))
    if epochs <= config.epochs:
        return config
    patience = math.ceil(config.patience * epochs / config.epochs)
    return dataclasses.replace(config, epochs=epochs, patience=patience)


def steps_of_epoch(config: TrainingConfig, pictures: int) -> int:
    """How many batches an epoch has; pictures that do not fill one wait for another epoch."""
    return pictures // min(config.batch_size, pictures)
