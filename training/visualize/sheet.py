"""Cards, which are one or more pictures with words, and sheets of them in one file. Used by the report and `show`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.visualize.style import MUTED, look
from training.visualize.tiles import Pixels

_INCHES, _WIDE_INCHES = 1.5, 6.0  # the width of a picture, and of one that is a row by itself
_WIDE = 1.5  # the ratio of width to height from which a picture is one
_WORDS_INCHES = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """Pictures that belong together, each RGB or RGBA with its caption, which may be empty."""

    title: str
    pictures: tuple[tuple[str, Pixels], ...]
    note: str = ""
    is_wrong: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether it takes a row by itself."""
        return any(pixels.shape[1] > _WIDE * pixels.shape[0] for _, pixels in self.pictures)


def sheet(cards: Sequence[Card], columns: int = 4) -> Figure:
    """All cards in one figure, `columns` a row, or one a row where one is wide. At least one card is needed."""
    columns = 1 if any(card.is_wide for card in cards) else min(columns, len(cards))
    rows, each = -(-len(cards) // columns), max(len(card.pictures) for card in cards)
    width = _WIDE_INCHES if any(card.is_wide for card in cards) else _INCHES
    tallest = max(pixels.shape[0] / pixels.shape[1] for card in cards for _, pixels in card.pictures)
    with look():
        figure = Figure((columns * each * width, rows * (width * tallest + _WORDS_INCHES)), layout="constrained")
        axes: Any = figure.subplots(rows, columns * each, squeeze=False)
        for one in axes.flat:
            one.set_axis_off()
        for number, card in enumerate(cards):
            row, first = number // columns, number % columns * each
            _draw(card, axes[row, first : first + each])
    return figure


def _draw(card: Card, axes: Sequence[Axes]) -> None:
    for one, (caption, pixels) in zip(axes, card.pictures, strict=False):
        one.imshow(pixels, interpolation="nearest")
        one.text(0.5, -0.04, caption, transform=one.transAxes, ha="center", va="top", color=MUTED, fontsize=7)
    words = card.title + (f"\n{card.note}" if card.note else "")
    axes[0].set_title(words, fontsize=8, pad=4)
