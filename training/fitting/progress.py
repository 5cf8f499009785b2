"""What a person sees of a run: a bar on a terminal, a line for every epoch or some, curves in TensorBoard.

Called by `training.train`.
"""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import tensorflow as tf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.errors import ConfigInvalid
from training.fitting.batches import Feed

_DATA_CLASS_SCALAR = 1  # of TensorFlow's summary.proto
_LINES = 50  # that the epochs of a run are told in, about: a run on few pictures has hundreds


class Display:
    """Tells how a run goes. A context manager: the bar is taken away at its end, whatever ends it."""

    def __init__(self, epochs: int, feed: Feed, tensorboard: Path | None) -> None:
        """`tensorboard` is the folder for its event files. Raises ConfigInvalid where it can't be written."""
        self._epochs = epochs
        self._feed = feed
        self._writer = _writer(tensorboard) if tensorboard else None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("", total=feed.steps, loss=0.0)
        self._began = time.monotonic()
        self._first_step = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._writer is not None:
            self._writer.close()

    def begin_epoch(self, epoch: int, step: int) -> None:
        """An epoch, counted from 0, begins or goes on at `step`."""
        self._began, self._first_step = time.monotonic(), step
        self._bar.update(self._task, description=f"epoch {epoch + 1}/{self._epochs}", completed=step)

    def step(self, step: int, loss: float) -> None:
        """So many steps of the epoch are done, with this mean loss."""
        self._bar.update(self._task, completed=step, loss=loss)

    def end_epoch(self, epoch: int, figures: Mapping[str, float], rate: float) -> None:
        """An epoch, counted from 0, is done and judged. `rate` is its last learning rate."""
        seconds = time.monotonic() - self._began
        pictures = (self._feed.steps - self._first_step) * self._feed.batch_size
        if _is_told(epoch + 1, self._epochs):
            told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
            self._bar.console.print(
                f"Epoch {epoch + 1}/{self._epochs}: {told} ({seconds:.1f} s, {pictures / seconds:,.0f} pictures/s)",
                highlight=False,
                soft_wrap=True,
            )
        if self._writer is not None:
            with self._writer.as_default(step=epoch + 1):
                for name, value in {**figures, "learning_rate": rate}.items():
                    tf.summary.write(name, tf.constant(value, tf.float32), metadata=_scalar())
            self._writer.flush()


def _is_told(epoch: int, epochs: int) -> bool:
    """Of many epochs the first, the last and some in equal steps between; counted from 1."""
    return epoch in {1, epochs} or epoch % math.ceil(epochs / _LINES) == 0


def _writer(folder: Path) -> tf.summary.SummaryWriter:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tf.summary.create_file_writer(str(folder))
    except (OSError, tf.errors.OpError) as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise ConfigInvalid(f"--tensorboard {folder} can't be written: {reason}; choose another folder") from error


def _scalar() -> tf.compat.v1.SummaryMetadata:
    """What makes TensorBoard draw a curve. `tf.summary.scalar` says the same, but only where it is installed."""
    kind = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    return tf.compat.v1.SummaryMetadata(plugin_data=kind, data_class=_DATA_CLASS_SCALAR)
