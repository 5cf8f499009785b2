"""The confusion matrix: what was taken for what. Drawn by `training.report`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from training.visualize.style import BLUE, INK, LINE, VERMILION, chart, look, short

_DARK = 0.55  # above this share a cell is so dark that its number is written in white
_NUMBERED, _NAMED = 24, 80  # classes up to which cells are numbered shapes, and the sides have names
_FAINTEST = 0.06  # so that a single mistake among thousands still shows


def confusion_matrix(confusion: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Draws int64 [classes, classes], rows the truth: blue is right, orange is wrong.

    Blue is as deep as its share of the row; orange as the root of it, for mistakes are few.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    depths = np.where(np.eye(len(labels), dtype=bool), shares, np.sqrt(shares))
    depths = np.where(confusion, np.maximum(depths, _FAINTEST), 0)
    side = min(max(3.2, 1.5 + 0.36 * len(labels)), 11)
    with look():
        figure, axes = chart(side, side)
        if len(labels) <= _NUMBERED:
            _cells(axes, confusion, depths, shares)
        else:
            axes.imshow(_coloured(depths), interpolation="none")
        _sides(axes, labels)
    return figure


def _cells(
    axes: Axes, confusion: NDArray[np.int64], depths: NDArray[np.floating], shares: NDArray[np.floating]
) -> None:
    for row, column in np.argwhere(confusion):
        colour, alpha = BLUE if row == column else VERMILION, depths[row, column]
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=colour, alpha=alpha, linewidth=0))
        ink = "white" if shares[row, column] > _DARK else INK
        axes.text(column, row, f"{confusion[row, column]}", ha="center", va="center", color=ink, fontsize=8)


def _coloured(depths: NDArray[np.floating]) -> NDArray[np.floating]:
    """One picture of all cells, RGBA [classes, classes, 4]: of a thousand classes, shapes would be the whole page."""
    is_right = np.eye(len(depths), dtype=bool)[..., np.newaxis]
    return np.concatenate([np.where(is_right, to_rgb(BLUE), to_rgb(VERMILION)), depths[..., np.newaxis]], axis=2)


def _sides(axes: Axes, labels: Sequence[str]) -> None:
    ends = (-0.5, len(labels) - 0.5)
    axes.set(xlim=ends, ylim=ends[::-1], xlabel="answer", ylabel="truth", aspect="equal")
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    if len(labels) > _NAMED:  # neither names nor lines between the cells could be told apart
        axes.set(xticks=[], yticks=[])
        return
    names = [short(label) for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, linewidth=0.5)
    axes.tick_params(which="both", length=0, labelsize=min(9, 500 / len(labels)))
