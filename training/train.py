"""Fits a model to a dataset and keeps the weights of its best epoch.

The same configuration and dataset on the same machine give the same weights, bit by bit, also where the run was killed
and went on: all that is random follows from the seed and the step, or is a variable of the checkpoint. Augmentation
happens between the data and the model, so nothing of it can reach an exported one. Called by `training.publish`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training import architectures, explain
from training.architectures import transfer
from training.config import TrainingConfig
from training.datasets import Dataset
from training.errors import RunUnusable, TrainingDiverged
from training.fitting.batches import Chunk, Feed, ahead, class_weights
from training.fitting.cluster import share
from training.fitting.devices import Devices, agree, devices, synchronise
from training.fitting.progress import Display
from training.fitting.rates import learning_rates
from training.fitting.runs import CHECKPOINT_SECONDS, Position, Run
from training.fitting.steps import Learner, Stepped, TakeSteps, Tensors, judge, runner
from training.tasks import FIXED_SEED, Task

Values = list[NDArray[np.generic]]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A fitted model with its past.

    `history` holds one value an epoch under "loss", "accuracy", "val_loss" and "val_accuracy"; the accuracy is that of
    the first head, others' are under "<head>_accuracy" and "val_<head>_accuracy". `best_epoch` counts from 0; the model
    has that epoch's weights, the ones with the least validation loss. `seconds` is the time of all that the run took,
    in this process and in those before it.
    """

    model: keras.Model
    history: dict[str, tuple[float, ...]]
    best_epoch: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """Where a run leaves traces: a run folder from which it can go on, and TensorBoard's events.

    `say` is told from where a run goes on.
    """

    run: Run | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    tensorboard: Path | None = None
    say: Callable[[str], None] = lambda _: None


@dataclass(slots=True, eq=False)
class _Fit:
    """One run on its way. `best` are the weights of the best epoch so far."""

    config: TrainingConfig
    dataset: Dataset
    task: Task
    feed: Feed
    devices: Devices
    learner: Learner
    logging: Logging
    position: Position = field(default_factory=Position)
    best: Values = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    @property
    def step(self) -> int:
        """Steps that are done, over all epochs."""
        return self.position.epoch * self.feed.steps + self.position.step

    @property
    def variables(self) -> "list[keras.Variable | tf.Variable]":
        """All that decides how the run goes on, the states of dropout's random numbers included."""
        return [*self.learner.model.variables, *self.learner.optimizer.variables, *self.learner.averages]


def train(config: TrainingConfig, dataset: Dataset, logging: Logging | None = None) -> Trained:
    """Builds the configured architecture and fits it, telling a line an epoch.

    Raises TrainingDiverged where the loss became NaN or infinite, RunUnusable for a run folder from which it can't go
    on, ConfigInvalid for an architecture, devices or class-activation maps that are not there.
    """
    began = time.monotonic()
    fit = _begin(config, dataset.limited(config.limit), logging or Logging())
    _restore(fit)
    agree(fit.devices, fit.step)
    began -= fit.position.seconds
    run = _runner(fit)
    forward = tf.function(lambda pictures: fit.learner.model(pictures, training=False), reduce_retracing=True)
    with Display(config.epochs, fit.feed, fit.logging.tensorboard) as display:
        while fit.position.epoch < config.epochs and not fit.position.stopped:
            display.begin_epoch(fit.position.epoch, fit.position.step)
            rate = _run_epoch(fit, run, display, began)
            figures = _judge(fit, forward)
            display.end_epoch(fit.position.epoch, figures, rate)
            _end_epoch(fit, figures)
            _save(fit, began)
    return _trained(fit)


def _begin(config: TrainingConfig, dataset: Dataset, logging: Logging) -> _Fit:
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    task = architectures.task_of(config.architecture, dataset)
    feed = Feed(config, dataset.train, task, share(config.distribute))
    machine = devices(config.distribute, feed.batch_size)
    with machine.strategy.scope():
        learner = _learner(config, dataset, task)
    if config.explain:  # an hour of training must not end in a refusal
        explain.check(learner.model, task.heads)
    if machine.replicas > 1:
        synchronise(learner.model)
    return _Fit(config, dataset, task, feed, machine, learner, logging)


def _learner(config: TrainingConfig, dataset: Dataset, task: Task) -> Learner:
    model = untrained(config, dataset, task, config.precision)
    optimizer: keras.optimizers.Optimizer = keras.optimizers.AdamW(
        config.learning_rate, weight_decay=config.weight_decay
    )
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    averaged = model.weights if config.average else []
    return Learner(model, optimizer, [tf.Variable(weight.value, trainable=False) for weight in averaged])


def untrained(config: TrainingConfig, dataset: Dataset, task: Task, precision: str = "float32") -> keras.Model:
    """The configured architecture for the dataset's pictures, computing in `precision` everything but probabilities.

    Raises what `architectures.build` raises.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        model = architectures.build(
            config.architecture,
            dataset.image_shape,
            task.classes,
            config.dropout,
            backbone=config.backbone,
            weights=config.weights,
            fine_tune=config.fine_tune,
        )
    finally:
        keras.config.set_dtype_policy(before)
    for head in task.heads:
        model.get_layer(head.output).dtype_policy = keras.DTypePolicy("float32")
    return model


def _runner(fit: _Fit) -> TakeSteps:
    """Takes steps on what the epoch's phase trains: the head alone, then what is fine-tuned too."""
    common = fit.learner, fit.config, fit.task, _class_weights(fit), fit.devices
    whole = runner(*common)
    if not fit.config.first_epochs:
        return whole
    head = runner(*common, variables=transfer.head_variables(fit.learner.model))

    def take_steps(chunk: Chunk, rates: NDArray[np.float32]) -> Stepped:
        phase = head if fit.position.epoch < fit.config.first_epochs else whole
        return phase(chunk, rates)

    return take_steps


def _class_weights(fit: _Fit) -> dict[str, NDArray[np.float32]]:
    if fit.config.class_weights == "none":
        return {}
    targets = fit.task.examples(fit.dataset.train, FIXED_SEED).targets
    return {head.name: class_weights(targets[head.name], len(head.labels)) for head in fit.task.heads}


def _run_epoch(fit: _Fit, run: TakeSteps, display: Display, began: float) -> float:
    """The rest of the epoch, with a checkpoint now and then; gives its last learning rate."""
    position = fit.position
    steps = fit.feed.steps
    rates = learning_rates(fit.config, steps * fit.config.epochs, steps * fit.config.first_epochs)
    for chunk in ahead(fit.feed.chunks(position.epoch, position.step)):
        stepped = run(chunk, rates[fit.step : fit.step + chunk.steps])
        _refuse_divergence(fit, stepped.losses)
        position.step += chunk.steps
        position.loss += float(stepped.losses.sum(dtype=np.float64))
        position.right = {name: position.right.get(name, 0) + count for name, count in stepped.right.items()}
        display.step(position.step, position.loss / position.step)
        if time.monotonic() - fit.saved >= fit.logging.checkpoint_seconds and position.step < fit.feed.steps:
            _save(fit, began)
    return float(rates[fit.step - 1])


def _refuse_divergence(fit: _Fit, losses: NDArray[np.float32]) -> None:
    lost = np.flatnonzero(~np.isfinite(losses))
    if len(lost):
        raise _diverged(fit, fit.step + int(lost[0]) + 1, float(losses[lost[0]]))


def _diverged(fit: _Fit, step: int, loss: float) -> TrainingDiverged:
    run = fit.logging.run
    kept = f"; the last good checkpoint is in {run.folder}" if run and run.saved else ""
    return TrainingDiverged(
        f"the loss became {loss} at step {step:,}, in epoch {fit.position.epoch + 1} of {fit.config.epochs}, so "
        f"nothing is published{kept}; train anew with a lower learning rate, which is {fit.config.learning_rate}"
    )


def _judge(fit: _Fit, forward: Callable[[Tensors], Tensors]) -> dict[str, float]:
    """The epoch's figures on the training and the validation pictures; keeps the weights that are the best so far.

    Raises TrainingDiverged.
    """
    position, weights = fit.position, fit.learner.model.weights
    before = _values(weights)
    if fit.learner.averages:
        _assign(weights, _values(fit.learner.averages))
    judged = judge(forward, fit.dataset.validation, fit.task)
    if not math.isfinite(judged["loss"]):
        raise _diverged(fit, fit.step, judged["loss"])
    if judged["loss"] < min(position.history.get("val_loss", ()), default=math.inf):
        position.best_epoch, fit.best = position.epoch, _values(weights)
    if fit.learner.averages:
        _assign(weights, before)
    seen = fit.feed.steps * fit.feed.batch_size
    trained = {"loss": position.loss / fit.feed.steps} | {head: count / seen for head, count in position.right.items()}
    names = {"loss": "loss"} | {head.name: f"{head.name}_accuracy" for head in fit.task.heads}
    names[fit.task.heads[0].name] = "accuracy"
    return {names[name]: value for name, value in trained.items()} | {
        f"val_{names[name]}": value for name, value in judged.items()
    }


def _end_epoch(fit: _Fit, figures: dict[str, float]) -> None:
    """Writes the epoch into the history and begins the next."""
    position = fit.position
    for name, value in figures.items():
        position.history.setdefault(name, []).append(value)
    if position.best_epoch == position.epoch and fit.logging.run and fit.devices.share.leads:
        fit.logging.run.save_best(position.epoch, fit.best)
    since = max(position.best_epoch, fit.config.first_epochs - 1)  # the second phase is not left out
    position.stopped = 0 < fit.config.patience <= position.epoch - since
    position.epoch, position.step, position.loss, position.right = position.epoch + 1, 0, 0.0, {}


def _save(fit: _Fit, began: float) -> None:
    """A checkpoint of what is good; of several processes the first writes it."""
    fit.position.seconds = time.monotonic() - began
    if fit.logging.run is None or not fit.devices.share.leads:
        return
    values = _values(fit.variables)
    if not all(np.isfinite(value).all() for value in values):
        raise _diverged(fit, fit.step, math.nan)
    fit.logging.run.save(fit.position, values, fit.dataset.digest)
    fit.saved = time.monotonic()


def _restore(fit: _Fit) -> None:
    """Goes to where the run folder says, if it says anything."""
    run = fit.logging.run
    if run is None or (found := run.load(fit.dataset.digest)) is None:
        return
    fit.position, values = found
    if [tuple(variable.shape) for variable in fit.variables] != [value.shape for value in values]:
        raise RunUnusable(f"the checkpoint in {run.folder} is of another version of this network; begin anew by --run")
    _assign(fit.variables, values)
    if fit.position.best_epoch >= 0:
        fit.best = list(run.load_best(fit.position.best_epoch))
    fit.logging.say(_going_on(fit, run))


def _going_on(fit: _Fit, run: Run) -> str:
    position, epochs = fit.position, fit.config.epochs
    if position.stopped or position.epoch >= epochs:
        return f"the run in {run.folder} has done its {position.epoch:,} epochs; going on with what follows them"
    return f"the run in {run.folder}: {position.going_on(epochs, fit.feed.steps)}"


def _trained(fit: _Fit) -> Trained:
    """The best weights, in a model that computes in float32 on one device whatever it was trained on."""
    model = fit.learner.model
    if fit.config.precision != "float32" or fit.devices.replicas > 1:
        model = untrained(fit.config, fit.dataset, fit.task)
    _assign(model.weights, fit.best)
    history = {name: tuple(values) for name, values in fit.position.history.items()}
    return Trained(model, history, fit.position.best_epoch, fit.position.seconds)


def _values(variables: "Sequence[keras.Variable | tf.Variable]") -> Values:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: "Sequence[keras.Variable | tf.Variable]", values: Sequence[NDArray[np.generic]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
