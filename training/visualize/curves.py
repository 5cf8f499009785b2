"""Learning curves: how a run came along, epoch by epoch. Drawn by `training.report`."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from training.visualize.style import BLUE, MUTED, VERMILION, chart, look

_FEW = 30  # epochs that are still marked by a dot each


def learning_curve(
    title: str, training: Sequence[float], validation: Sequence[float], kept: int, *, percent: bool = False
) -> Figure:
    """One value an epoch of training and of validation; `kept`, from 0, is the epoch whose weights were published."""
    epochs = range(1, len(training) + 1)
    marker = "o" if len(training) <= _FEW else ""
    with look():
        figure, axes = chart(5, 3.1)
        axes.plot(epochs, training, color=MUTED, marker=marker, markersize=3.5, label="training")
        axes.plot(epochs, validation, color=BLUE, marker=marker, markersize=3.5, linewidth=2, label="validation")
        axes.plot(kept + 1, validation[kept], "o", color=VERMILION, markersize=8, label=f"kept: epoch {kept + 1}")
        axes.set(title=title, xlabel="epoch")
        axes.set_xlim(0.75, len(training) + 0.25)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend()
    return figure
