"""What TensorFlow computes in a training run: the steps of a chunk in one graph call, and the judging of a split.

One code path for one device and for many: every replica takes its part of a batch, gradients are summed over all of
them, and losses are divided by the whole batch. What an example needs of others, its partner in mixing, comes with it.
So the number of devices does not change what is computed. Called by `training.train`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.config import TrainingConfig
from training.datasets import Split
from training.fitting import augment
from training.fitting.batches import Chunk
from training.fitting.devices import Devices
from training.tasks import FIXED_SEED, HeadSpec, Task

_JUDGED_TOGETHER = 500
_LEAST_PROBABILITY = 1e-7

Tensors = dict[str, Any]
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Stepped:
    """What a chunk gave: the loss of every step, float32 [steps], and by head how many examples were right."""

    losses: NDArray[np.float32]
    right: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Learner:
    """What changes in training. `averages` are the moving averages of the model's weights, or empty."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    averages: list[tf.Variable]


TakeSteps = Callable[[Chunk, NDArray[np.float32]], Stepped]


def runner(
    learner: Learner,
    config: TrainingConfig,
    task: Task,
    class_weights: Weights,
    devices: Devices,
    *,
    variables: Sequence[keras.Variable] | None = None,
) -> TakeSteps:
    """Trains on a chunk with one learning rate a step. `class_weights` are by head, float32 [labels].

    `variables` are those of the model that change, unless told all that can be trained.
    """
    model, optimizer = learner.model, learner.optimizer
    trained = model.trainable_variables if variables is None else list(variables)

    def on_replica(batch: Tensors, batch_size: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
        batch = _own_part(batch, devices.here)
        pictures = _pictures(batch, config.cutout)
        with tf.GradientTape() as tape:
            answers = model(pictures, training=True)
            loss = tf.add_n([_loss(answers[head.output], head, batch, config, class_weights) for head in task.heads])
            loss = loss / tf.cast(batch_size, tf.float32)
            if model.losses:
                loss += tf.add_n(model.losses) / devices.replicas
            scaled = optimizer.scale_loss(loss)
        optimizer.apply(tape.gradient(scaled, trained), trained)
        right = {head.name: _right(answers[head.output], batch["targets"][head.name]) for head in task.heads}
        return loss, right

    def steps(tensors: Tensors, rates: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
        count = tf.shape(rates)[0]
        losses = tf.TensorArray(tf.float32, count)
        right = {head.name: tf.constant(0, tf.int32) for head in task.heads}
        for number in tf.range(count):
            optimizer.learning_rate.assign(rates[number])
            batch = tf.nest.map_structure(lambda tensor: tensor[number], tensors)  # noqa: B023 - called at once
            batch_size = tf.shape(batch["targets"][task.heads[0].name])[0] * devices.share.of
            loss, correct = devices.strategy.run(on_replica, args=(batch, batch_size))
            losses = losses.write(number, devices.strategy.reduce("SUM", loss, axis=None))
            right = {name: right[name] + devices.strategy.reduce("SUM", correct[name], axis=None) for name in right}
            _follow(learner, config.average)
        return losses.stack(), right

    compiled = tf.function(steps, reduce_retracing=True, jit_compile=False)

    def take_steps(chunk: Chunk, rates: NDArray[np.float32]) -> Stepped:
        losses, right = compiled(tf.nest.map_structure(tf.constant, chunk.tensors), tf.constant(rates))
        return Stepped(losses.numpy(), {name: int(count) for name, count in right.items()})

    return take_steps


def _own_part(batch: Tensors, here: int) -> Tensors:
    """Every so-manieth example, so that the replicas `here`, in one process, share its batch."""
    if here == 1:
        return batch
    number = tf.distribute.get_replica_context().replica_id_in_sync_group % here
    mine: Tensors = tf.nest.map_structure(lambda tensor: tensor[number::here], batch)
    return mine


def _pictures(batch: Tensors, cutout: int) -> Tensors:
    """What the model is shown, by input: augmented, and mixed where the batch says so."""
    pictures = _augmented(batch, cutout)
    if "kept" not in batch:
        return pictures
    partners = _augmented(batch["partners"], cutout)
    return {name: augment.mix(images, partners[name], batch["kept"]) for name, images in pictures.items()}


def _augmented(batch: Tensors, cutout: int) -> Tensors:
    return {name: augment.apply(images, batch["draws"][name], cutout) for name, images in batch["pictures"].items()}


def _loss(
    answers: tf.Tensor, head: HeadSpec, batch: Tensors, config: TrainingConfig, class_weights: Weights
) -> tf.Tensor:
    """The head's cross-entropy, summed over the examples; weighted and mixed as the batch is."""
    targets = batch["targets"][head.name]
    wanted = tf.one_hot(targets, len(head.labels))
    if "kept" in batch:
        kept = batch["kept"][:, tf.newaxis]
        others = tf.one_hot(batch["partners"]["targets"][head.name], len(head.labels))
        wanted = kept * wanted + (1 - kept) * others
    losses = keras.losses.categorical_crossentropy(wanted, answers, label_smoothing=config.label_smoothing)
    if head.name in class_weights:
        losses *= tf.gather(tf.constant(class_weights[head.name]), targets)
    return tf.reduce_sum(tf.cast(losses, tf.float32))


def _right(answers: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.argmax(answers, axis=1) == targets, tf.int32))


def _follow(learner: Learner, most: float) -> None:
    """Moves the averages a step towards the weights; at first in larger steps, so that the beginning is forgotten."""
    if learner.averages:
        done = tf.cast(learner.optimizer.iterations, tf.float32)
        past = tf.minimum(tf.constant(most, tf.float32), (1 + done) / (10 + done))
        for average, weight in zip(learner.averages, learner.model.weights, strict=True):
            average.assign(past * average + (1 - past) * tf.cast(weight.value, tf.float32))


def judge(forward: Callable[[Tensors], Tensors], split: Split, task: Task) -> dict[str, float]:
    """The examples' mean loss, summed over the heads, and each head's accuracy, on a whole split.

    `forward` gives the answers by output to pictures by input.
    """
    examples = task.examples(split, FIXED_SEED)
    loss, right = 0.0, {head.name: 0 for head in task.heads}
    for start in range(0, len(examples), _JUDGED_TOGETHER):
        some = examples[start : start + _JUDGED_TOGETHER]
        answers = forward({name: split.images[some.inputs[name]] for name in task.inputs})
        for head in task.heads:
            probabilities, targets = answers[head.output].numpy(), some.targets[head.name]
            given = probabilities[np.arange(len(targets)), targets]
            loss -= float(np.log(np.clip(given, _LEAST_PROBABILITY, 1), dtype=np.float64).sum())
            right[head.name] += int((probabilities.argmax(axis=1) == targets).sum())
    return {"loss": loss / len(examples)} | {name: count / len(examples) for name, count in right.items()}
