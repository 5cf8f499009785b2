"""The run's pictures: learning curves and confusion matrix.

Pure functions from results to PNG files, drawn with Agg and without pyplot, so no display is needed and nothing global
changes. Called by `training.publish`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

_TRAINING, _VALIDATION, _MARK = "#8a9bb0", "#1f6fb4", "#d1495b"
_DOTS_PER_INCH = 120
_DARK = 0.5  # above this share a cell is so dark that its number is written in white


def learning_curves(path: Path, history: Mapping[str, Sequence[float]], best_epoch: int) -> None:
    """Draws loss and accuracy by epoch, of training and validation; `best_epoch`, from 0, is the one that was kept."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    _curve(loss, "Loss", history["loss"], history["val_loss"], best_epoch)
    _curve(accuracy, "Accuracy", history["accuracy"], history["val_accuracy"], best_epoch)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    loss.legend(frameon=False)
    figure.savefig(path, dpi=_DOTS_PER_INCH)


def confusion_matrix(path: Path, confusion: NDArray[np.int64], class_names: Sequence[str]) -> None:
    """Draws int64 [classes, classes], rows the truth: colours are shares of a row, numbers are pictures."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = 3 + 0.55 * len(class_names)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if shares[row, column] > _DARK else "#333333"
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(class_names)), class_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(class_names)), class_names)
    axes.set(xlabel="Answer", ylabel="Truth")
    axes.set_title(f"{np.trace(confusion) / confusion.sum():.2%} of {confusion.sum():,} test pictures are right")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    colours = figure.colorbar(image, ax=axes, shrink=0.7, format=PercentFormatter(1, decimals=0))
    colours.set_label("of the true class")
    colours.outline.set_visible(False)
    figure.savefig(path, dpi=_DOTS_PER_INCH)


def _curve(axes: Axes, title: str, training: Sequence[float], validation: Sequence[float], best_epoch: int) -> None:
    epochs = range(1, len(training) + 1)
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 2}
    axes.plot(epochs, training, color=_TRAINING, label="training", **style)
    axes.plot(epochs, validation, color=_VALIDATION, label="validation", **style)
    kept = best_epoch + 1
    axes.plot(kept, validation[best_epoch], "o", color=_MARK, markersize=9, zorder=3, label=f"kept: epoch {kept}")
    axes.set(title=title, xlabel="Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
