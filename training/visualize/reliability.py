"""Reliability: is an answer given with 80% right in 80% of the cases? Drawn by `training.report`.

Bins and the expected calibration error are those of Guo et al., "On calibration of modern neural networks" (2017),
section 2 and equation 3: equal widths, the error weighted by the pictures in a bin.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from training.visualize.style import BLUE, LINE, MUTED, ORANGE, look

BINS = 15
FEW = 10  # answers below which a bin's accuracy is mostly chance, so that it is drawn faintly
_COLOURS = (BLUE, ORANGE)


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Pictures by the probability of their best class, in BINS equal steps from 0 to 1.

    `counts` int64 [bins]; `confidence` and `accuracy` float64 [bins], means of a bin, 0 where it is empty. Empty bins
    may be left out.
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def expected_error(self) -> float:
        """The expected calibration error: the mean gap between confidence and accuracy over all pictures."""
        gaps = np.abs(self.accuracy - self.confidence) * self.counts
        return float(gaps.sum() / self.counts.sum())


def reliability(scores: NDArray[np.floating], right: NDArray[np.bool_]) -> Reliability:
    """Sorts answers by their probability, float [n] in 0 to 1; `right`, bool [n], says which were true."""
    bins = np.clip(np.ceil(scores.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    some = np.maximum(counts, 1)
    confidence = np.bincount(bins, weights=scores, minlength=BINS) / some
    accuracy = np.bincount(bins, weights=right, minlength=BINS) / some
    return Reliability(counts, confidence, accuracy)


def reliability_diagram(curves: Mapping[str, Reliability]) -> Figure:
    """Accuracy over confidence for one or two named curves; below it how many pictures have that confidence."""
    with look():
        figure = Figure(figsize=(5, 4.4), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="as it should be")
        for colour, (name, curve) in zip(_COLOURS, curves.items(), strict=False):
            many, few = curve.counts >= FEW, (curve.counts > 0) & (curve.counts < FEW)
            label = f"{name}: ECE {curve.expected_error:.3f}"
            line = {"color": colour, "marker": "o", "markersize": 4, "linewidth": 1.6}
            axes.plot(curve.confidence[many], curve.accuracy[many], label=label, **line)
            axes.plot(curve.confidence[few], curve.accuracy[few], alpha=0.35, **line | {"linewidth": 0})
            seen = curve.counts > 0
            middles = (np.ceil(curve.confidence[seen] * BINS) - 0.5) / BINS
            shares = curve.counts[seen] / curve.counts.sum()
            below.bar(middles, shares, width=0.9 / BINS, color=colour, alpha=0.55)
        axes.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        below.set(xlabel="probability of the answer", ylabel="pictures")
        for each in (axes.xaxis, axes.yaxis, below.xaxis, below.yaxis):
            each.set_major_formatter(PercentFormatter(1, decimals=0))
        below.grid(visible=False, axis="x")
        axes.spines[:].set_color(LINE)
        axes.legend(loc="upper left")
    return figure
