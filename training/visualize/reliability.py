"""Reliability: is an answer given with 80% right in 80% of the cases? Drawn by `training.report`.

The bins and the expected calibration error are those of `training.calibrate`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from training.calibrate import BINS, Bin, expected_error
from training.visualize.style import BLUE, LINE, MUTED, ORANGE, look

FEW = 10  # answers below which a bin's accuracy is mostly chance, so that it is drawn faintly
_COLOURS = (BLUE, ORANGE)


def reliability_diagram(curves: Mapping[str, Sequence[Bin]]) -> Figure:
    """Accuracy over confidence for one or two named curves; below it how many pictures have that confidence."""
    with look():
        figure = Figure(figsize=(5, 4.4), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="as it should be")
        for colour, (name, bins) in zip(_COLOURS, curves.items(), strict=False):
            counts = np.array([one.count for one in bins])
            confidence = np.array([one.confidence for one in bins])
            accuracy = np.array([one.accuracy for one in bins])
            many = counts >= FEW
            line = {"color": colour, "marker": "o", "markersize": 4, "linewidth": 1.6}
            label = f"{name}: ECE {expected_error(bins):.3f}"
            axes.plot(confidence[many], accuracy[many], label=label, **line)
            axes.plot(confidence[~many], accuracy[~many], alpha=0.35, **line | {"linewidth": 0})
            middles = [(one.lower + one.upper) / 2 for one in bins]
            below.bar(middles, counts / counts.sum(), width=0.9 / BINS, color=colour, alpha=0.55)
        axes.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        below.set(xlabel="probability of the answer", ylabel="pictures")
        for each in (axes.xaxis, axes.yaxis, below.xaxis, below.yaxis):
            each.set_major_formatter(PercentFormatter(1, decimals=0))
        below.grid(visible=False, axis="x")
        axes.spines[:].set_color(LINE)
        axes.legend(loc="upper left")
    return figure
