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
_PICTURES_A_ROW = 6


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


def sheet(cards: Sequence[Card]) -> Figure:
    """All cards in one figure, several in a row, or one where any is wide. At least one card is needed."""
    any_wide, each = any(card.is_wide for card in cards), max(len(card.pictures) for card in cards)
    columns = 1 if any_wide else min(max(_PICTURES_A_ROW // each, 1), len(cards))
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(map(_inches_high, row)) for row in rows]
    width = _WIDE_INCHES if any_wide else columns * each * _INCHES
    with look():
        figure = Figure((width, sum(heights)), layout="constrained")
        axes: Any = figure.subplots(len(rows), columns * each, squeeze=False, height_ratios=heights)
        for one in axes.flat:
            one.set_axis_off()
        for row, row_axes in zip(rows, axes, strict=True):
            for number, card in enumerate(row):
                _draw(card, row_axes[number * each : (number + 1) * each])
    return figure


def _inches_high(card: Card) -> float:
    width = _WIDE_INCHES if card.is_wide else _INCHES
    return _WORDS_INCHES + max(width * pixels.shape[0] / pixels.shape[1] for _, pixels in card.pictures)


def _draw(card: Card, axes: Sequence[Axes]) -> None:
    for one, (caption, pixels) in zip(axes, card.pictures, strict=False):
        one.imshow(pixels, interpolation="nearest")
        one.set_anchor("SW")
        one.text(0.5, -0.04, caption, transform=one.transAxes, ha="center", va="top", color=MUTED, fontsize=7)
    words = card.title + (f"\n{card.note}" if card.note else "")
    axes[0].set_title(words, fontsize=8, pad=4)
