"""The confusion matrix: what was taken for what. Drawn by `training.report`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from training.visualize.style import BLUE, INK, LINE, VERMILION, chart, look

_DARK = 0.55  # above this share a cell is so dark that its number is written in white
_NUMBERED, _NAMED = 24, 80  # classes up to which cells have numbers, and the sides names
_FAINTEST = 0.06  # so that a single mistake among thousands still shows


def confusion_matrix(confusion: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Draws int64 [classes, classes], rows the truth: blue is right, orange is wrong.

    Blue is as deep as its share of the row; orange as the root of it, for mistakes are few.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = min(max(3.2, 1.5 + 0.36 * len(labels)), 11)
    with look():
        figure, axes = chart(side, side)
        for row, column in np.argwhere(confusion):
            _cell(axes, row, column, shares[row, column])
            if len(labels) <= _NUMBERED:
                colour = "white" if shares[row, column] > _DARK else INK
                number = f"{confusion[row, column]}"
                axes.text(column, row, number, ha="center", va="center", color=colour, fontsize=8)
        _sides(axes, labels)
    return figure


def _cell(axes: Axes, row: int, column: int, share: float) -> None:
    colour, depth = (BLUE, share) if row == column else (VERMILION, share**0.5)
    place = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(place, 1, 1, color=colour, alpha=max(depth, _FAINTEST), linewidth=0))


def _sides(axes: Axes, labels: Sequence[str]) -> None:
    ends = (-0.5, len(labels) - 0.5)
    axes.set(xlim=ends, ylim=ends[::-1], xlabel="answer", ylabel="truth", aspect="equal")
    names = labels if len(labels) <= _NAMED else []
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", color=LINE, linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
