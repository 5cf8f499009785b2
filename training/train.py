"""Fits a model to a dataset and keeps the weights of its best epoch.

The same configuration and dataset on the same machine give the same weights, bit by bit: everything random is seeded
and TensorFlow is told to be deterministic, for the whole process. Augmentation happens here, in the input pipeline, so
nothing of it can reach an exported model. Called by `training.publish`.
"""

import math
import sys
import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from training import architectures
from training.config import TrainingConfig
from training.datasets import Dataset, Split
from training.errors import TrainingDiverged

_VALIDATION_BATCH = 500
_PREFETCHED_BATCHES = 4
_FINAL_LEARNING_RATE = 0.01  # of the peak
_FIRST_LEARNING_RATE = 0.05  # of the peak


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A fitted model with its past.

    `history` holds one value an epoch under "loss", "accuracy", "val_loss" and "val_accuracy". `best_epoch` counts from
    0; the model has that epoch's weights, the ones with the least validation loss.
    """

    model: keras.Model
    history: dict[str, tuple[float, ...]]
    best_epoch: int
    seconds: float


def train(config: TrainingConfig, dataset: Dataset) -> Trained:
    """Builds the configured architecture and fits it, printing Keras's progress.

    Raises TrainingDiverged where the loss became NaN or infinite, ConfigInvalid for an unknown architecture.
    """
    began = time.monotonic()
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    dataset = dataset.limited(config.limit)
    model = architectures.build(config.architecture, dataset.image_shape, len(dataset.class_names), config.dropout)
    batch_size = min(config.batch_size, len(dataset.train))
    steps = len(dataset.train) // batch_size
    _compile(model, config, steps * config.epochs)
    history = _fit(model, config, dataset, batch_size, steps)
    return Trained(model, history, int(np.argmin(history["val_loss"])), time.monotonic() - began)


def _compile(model: keras.Model, config: TrainingConfig, steps: int) -> None:
    warmup = int(steps * config.warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate * _FIRST_LEARNING_RATE,
        steps - warmup,
        alpha=_FINAL_LEARNING_RATE,
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # on a CPU it gains nothing here and costs the compilation
    )


def _fit(
    model: keras.Model, config: TrainingConfig, dataset: Dataset, batch_size: int, steps: int
) -> dict[str, tuple[float, ...]]:
    best_weights = keras.callbacks.EarlyStopping(
        monitor="val_loss", mode="min", patience=config.epochs, restore_best_weights=True
    )
    fitted = model.fit(
        _training_batches(dataset, config, batch_size),
        steps_per_epoch=steps,
        epochs=config.epochs,
        validation_data=_validation_batches(dataset),
        callbacks=[keras.callbacks.TerminateOnNaN(), best_weights],
        shuffle=False,  # the pipeline shuffles
        verbose=1 if sys.stdout.isatty() else 2,
    )
    history = {name: tuple(map(float, values)) for name, values in fitted.history.items()}
    _refuse_divergence(history, config)
    return history


def _refuse_divergence(history: dict[str, tuple[float, ...]], config: TrainingConfig) -> None:
    for epoch, losses in enumerate(zip(history["loss"], history["val_loss"], strict=True), 1):
        lost = [loss for loss in losses if not math.isfinite(loss)]
        if lost:
            raise TrainingDiverged(
                f"the loss became {lost[0]} in epoch {epoch} of {config.epochs}, so nothing is published; "
                f"lower the learning rate, which is {config.learning_rate}"
            )


def _training_batches(dataset: Dataset, config: TrainingConfig, batch_size: int) -> tf.data.Dataset:
    """Endless batches of pictures and one-hot labels in a new order every epoch."""
    images, labels = _tensors(dataset.train, dataset)

    def batch(number: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pictures = tf.gather(images, indices)
        return (_mirror_half(pictures, config.seed, number) if config.flip else pictures), tf.gather(labels, indices)

    order = tf.data.Dataset.range(len(dataset.train)).shuffle(len(dataset.train), seed=config.seed)
    batches = order.repeat().batch(batch_size, drop_remainder=True).enumerate().map(batch)
    return batches.prefetch(_PREFETCHED_BATCHES).with_options(_options())


def _mirror_half(pictures: tf.Tensor, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Flips a random half of a batch left to right; drawn from the seed and the batch's number alone."""
    draws = tf.random.stateless_uniform((tf.shape(pictures)[0], 1, 1, 1), seed=tf.stack([seed, number]))
    return tf.where(draws < 0.5, tf.reverse(pictures, axis=[2]), pictures)  # noqa: PLR2004


def _validation_batches(dataset: Dataset) -> tf.data.Dataset:
    tensors = _tensors(dataset.validation, dataset)
    return tf.data.Dataset.from_tensor_slices(tensors).batch(_VALIDATION_BATCH).with_options(_options())


def _tensors(split: Split, dataset: Dataset) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(split.images), tf.one_hot(split.labels, len(dataset.class_names))


def _options() -> tf.data.Options:
    """Without autotuning: TensorFlow 2.21 now and then blocks at an epoch's end for as long as the epoch took."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
