"""The model's own view of the pictures: its last features, laid flat. Drawn by `training.report`.

Principal components by NumPy: they are deterministic, keep distances as far as a plane can, and need no other library;
methods that pull clusters further apart (t-SNE, UMAP) show gaps that the model may not have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.visualize.style import SERIES, SURFACE, chart, look, short
from training.visualize.trace import as_inputs, numbers, trace

COMPONENTS = 4
_MARKERS = "os^Dv"  # with the colours, enough for 50 classes before a pair repeats
_BATCH_SIZE = 100
_BEHIND = {"boxstyle": "round,pad=0.15", "facecolor": SURFACE, "linewidth": 0, "alpha": 0.75}  # a name in the cloud
NAMED = 20  # classes whose names are still written into the cloud


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Features on their principal axes: `points` float [n, components], `shares` float [components] of the variance."""

    points: NDArray[np.floating]
    shares: NDArray[np.floating]


def features(model: keras.Model, pixels: Mapping[str, NDArray[Any]], output: str) -> NDArray[np.float32] | None:
    """What the layer that makes an output is given, float32 [n, d], for uint8 [n, h, w, c] by input.

    None where no layer makes it.
    """
    rows = len(next(iter(pixels.values())))
    found = []
    for start in range(0, rows, _BATCH_SIZE):
        batch = {name: array[start : start + _BATCH_SIZE] for name, array in pixels.items()}
        given = trace(model, as_inputs(model, batch)).features.get(output)
        if given is None:
            return None
        found.append(numbers(given).reshape(len(given), -1))
    return np.concatenate(found)


def principal_components(features: NDArray[np.floating], components: int = COMPONENTS) -> Projection:
    """Projects float [n, d] on the axes of most variance (Pearson, 1901); fewer where n or d allow no more.

    An axis points to where its largest weight is positive, so that the same features always give the same picture.
    """
    centred = features.astype(np.float64) - features.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, np.newaxis]
    shares = values**2 / max((values**2).sum(), np.finfo(float).tiny)
    return Projection(centred @ axes[:components].T, shares[:components])


def embedding(projection: Projection, classes: NDArray[np.int64], labels: Sequence[str], first: int = 0) -> Figure:
    """One dot a picture, coloured by its true class (int64 [n]), on the axes `first`, from 0, and the one after."""
    with look():
        figure, axes = chart(5, 4.4)
        _cloud(axes, projection.points[:, first : first + 2], classes, labels)
        across, up = projection.shares[first : first + 2]
        axes.set(xlabel=f"axis {first + 1}: {across:.0%} of the variance", ylabel=f"axis {first + 2}: {up:.0%}")
        axes.set(xticks=[], yticks=[])
    return figure


def _cloud(axes: Axes, points: NDArray[np.floating], classes: NDArray[np.int64], labels: Sequence[str]) -> None:
    axes.grid(visible=False)
    style = classes % (len(SERIES) * len(_MARKERS))
    for number in np.unique(style):
        mine = points[style == number]
        colour, marker = SERIES[number % len(SERIES)], _MARKERS[number // len(SERIES)]
        axes.scatter(mine[:, 0], mine[:, 1], s=9, color=colour, marker=marker, alpha=0.55, linewidths=0)
    if len(labels) <= NAMED:
        for number in np.unique(classes):
            x, y = np.median(points[classes == number], axis=0)
            axes.text(x, y, short(labels[number]), ha="center", va="center", fontsize=8, weight="bold", bbox=_BEHIND)
