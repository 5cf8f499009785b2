"""Fits a model to a dataset and keeps the weights of its best epoch.

The same configuration and dataset on the same machine give the same weights, bit by bit: everything random is seeded
and TensorFlow is told to be deterministic, for the whole process. Augmentation happens here, in the input pipeline, so
nothing of it can reach an exported model. Called by `training.publish`.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from training import architectures
from training.config import TrainingConfig
from training.datasets import Dataset, Split
from training.errors import TrainingDiverged
from training.tasks import FIXED_SEED, Task

Tensors = dict[str, tf.Tensor]

_VALIDATION_BATCH = 500
_PREFETCHED_BATCHES = 4
_FINAL_LEARNING_RATE = 0.01  # of the peak
_FIRST_LEARNING_RATE = 0.05  # of the peak


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A fitted model with its past.

    `history` holds one value an epoch under "loss", "accuracy", "val_loss" and "val_accuracy"; the accuracy is that of
    the first head, others' are under "<head>_accuracy" and "val_<head>_accuracy". `best_epoch` counts from 0; the model
    has that epoch's weights, the ones with the least validation loss.
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
    task = architectures.task_of(config.architecture, dataset)
    model = architectures.build(
        config.architecture,
        dataset.image_shape,
        task.classes,
        config.dropout,
        backbone=config.backbone,
        weights=config.weights,
        fine_tune=config.fine_tune,
    )
    batch_size = min(config.batch_size, len(dataset.train))
    steps = len(dataset.train) // batch_size
    _compile(model, config, steps * config.epochs)
    training, validation = _training_batches(dataset, task, config, batch_size), _validation_batches(dataset, task)
    history = _by_head(_fit(model, config, training, validation, steps), task)
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
        loss=dict.fromkeys(model.output, "categorical_crossentropy"),
        metrics={output: ["accuracy"] for output in model.output},
        jit_compile=False,  # on a CPU it gains nothing here and costs the compilation
    )


def _fit(
    model: keras.Model, config: TrainingConfig, training: tf.data.Dataset, validation: tf.data.Dataset, steps: int
) -> dict[str, tuple[float, ...]]:
    best_weights = keras.callbacks.EarlyStopping(
        monitor="val_loss", mode="min", patience=config.epochs, restore_best_weights=True
    )
    fitted = model.fit(
        training,
        steps_per_epoch=steps,
        epochs=config.epochs,
        validation_data=validation,
        callbacks=[keras.callbacks.TerminateOnNaN(), best_weights],
        shuffle=False,  # the pipeline shuffles
        verbose=1 if sys.stdout.isatty() else 2,
    )
    history = {name: tuple(map(float, values)) for name, values in fitted.history.items()}
    _refuse_divergence(history, config)
    return history


def _by_head(history: dict[str, tuple[float, ...]], task: Task) -> dict[str, tuple[float, ...]]:
    """Keras's history, whose figures have the names of outputs where there are several."""
    main, *others = task.heads
    plain = {f"{main.output}_accuracy": "accuracy"}
    names = plain | {f"{head.output}_accuracy": f"{head.name}_accuracy" for head in others}
    names |= {f"val_{output}": f"val_{name}" for output, name in names.items()}
    return {names.get(name, name): values for name, values in history.items()}


def _refuse_divergence(history: dict[str, tuple[float, ...]], config: TrainingConfig) -> None:
    for epoch, losses in enumerate(zip(history["loss"], history["val_loss"], strict=True), 1):
        lost = [loss for loss in losses if not math.isfinite(loss)]
        if lost:
            raise TrainingDiverged(
                f"the loss became {lost[0]} in epoch {epoch} of {config.epochs}, so nothing is published; "
                f"lower the learning rate, which is {config.learning_rate}"
            )


def _training_batches(dataset: Dataset, task: Task, config: TrainingConfig, batch_size: int) -> tf.data.Dataset:
    """Endless batches of pictures by input and one-hot labels by output, in a new order every epoch."""
    example = _reader(dataset.train, task, config.seed)

    def batch(number: tf.Tensor, indices: tf.Tensor) -> tuple[Tensors, Tensors]:
        pictures, targets = example(indices)
        return (_augmented(pictures, config.seed, number) if config.flip else pictures), targets

    order = tf.data.Dataset.range(len(dataset.train)).shuffle(len(dataset.train), seed=config.seed)
    batches = order.repeat().batch(batch_size, drop_remainder=True).enumerate().map(batch)
    return batches.prefetch(_PREFETCHED_BATCHES).with_options(_options())


def _augmented(pictures: Tensors, seed: int, number: tf.Tensor) -> Tensors:
    """Every input's pictures, each with draws of its own."""
    return {
        name: _mirror_half(images, seed, number * len(pictures) + position)
        for position, (name, images) in enumerate(pictures.items())
    }


def _mirror_half(pictures: tf.Tensor, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Flips a random half of a batch left to right; drawn from the seed and the batch's number alone."""
    draws = tf.random.stateless_uniform((tf.shape(pictures)[0], 1, 1, 1), seed=tf.stack([seed, number]))
    return tf.where(draws < 0.5, tf.reverse(pictures, axis=[2]), pictures)  # noqa: PLR2004


def _validation_batches(dataset: Dataset, task: Task) -> tf.data.Dataset:
    batches = tf.data.Dataset.range(len(dataset.validation)).batch(_VALIDATION_BATCH)
    return batches.map(_reader(dataset.validation, task, FIXED_SEED)).with_options(_options())


def _reader(split: Split, task: Task, seed: int) -> Callable[[tf.Tensor], tuple[Tensors, Tensors]]:
    """From the numbers of examples, int64 [n], to their pictures by input and their one-hot labels by output."""
    examples = task.examples(split, seed)
    images = tf.constant(split.images)
    indices = {name: tf.constant(numbers) for name, numbers in examples.inputs.items()}
    targets = {head.output: tf.one_hot(examples.targets[head.name], len(head.labels)) for head in task.heads}

    def read(numbers: tf.Tensor) -> tuple[Tensors, Tensors]:
        pictures = {name: tf.gather(images, tf.gather(index, numbers)) for name, index in indices.items()}
        return pictures, {output: tf.gather(labels, numbers) for output, labels in targets.items()}

    return read


def _options() -> tf.data.Options:
    """Without autotuning: TensorFlow 2.21 now and then blocks at an epoch's end for as long as the epoch took."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
