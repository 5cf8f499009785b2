"""Cards, which are one or more pictures with words, and sheets of them in one file. Used by the report and `show`."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from training.visualize.style import MUTED, look
from training.visualize.tiles import Pixels, scale

_INCHES, _WIDE_INCHES = 1.5, 6.0  # the width of a picture, and of one that is a row by itself
_WIDE = 1.5  # the ratio of width to height from which a picture is one
_TITLE_INCHES, _WORDS_INCHES = 0.34, 0.54  # above a picture, and with what stands below it
_GAP_INCHES = 0.08
_STRIP_INCHES = 0.24  # of the heading, and of the scale
_SCALE_INCHES = 1.0, 0.09
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


def sheet(cards: Sequence[Card], heading: str = "", *, has_scale: bool = False) -> Figure:
    """All cards in one figure, several in a row, or one where any is wide. At least one card is needed.

    A `heading` stands above them, below them the scale of heat where they show any.
    """
    any_wide, each = any(card.is_wide for card in cards), max(len(card.pictures) for card in cards)
    columns = 1 if any_wide else min(max(_PICTURES_A_ROW // each, 1), len(cards))
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(map(_inches_high, row)) for row in rows]
    width = _WIDE_INCHES if any_wide else columns * each * _INCHES
    above, below = _STRIP_INCHES * bool(heading), _STRIP_INCHES * has_scale
    with look():
        figure = Figure((width + _GAP_INCHES, above + sum(heights) + below + _GAP_INCHES))
        top = sum(heights) + below
        if heading:
            up = (top + _STRIP_INCHES / 2) / figure.get_figheight()
            figure.text(_GAP_INCHES / figure.get_figwidth(), up, heading, color=MUTED, fontsize=8, va="center")
        if has_scale:
            _draw_scale(figure)
        for row, height in zip(rows, heights, strict=True):
            for number, card in enumerate(row):
                _draw(figure, card, _GAP_INCHES + number * each * _INCHES, top)
            top -= height
    return figure


def _inches_high(card: Card) -> float:
    ratio = max(pixels.shape[0] / pixels.shape[1] for _, pixels in card.pictures)
    return _WORDS_INCHES + _inches_wide(card) * float(ratio)


def _inches_wide(card: Card) -> float:
    return (_WIDE_INCHES if card.is_wide else _INCHES) - _GAP_INCHES


def _draw(figure: Figure, card: Card, left: float, top: float) -> None:
    """Places are said in inches, from the left and from the bottom: laying out many axes would take long."""
    across, up = figure.get_size_inches()
    width, below = _inches_wide(card), top - _TITLE_INCHES
    words = card.title + (f"\n{card.note}" if card.note else "")
    figure.text(left / across, (below + _GAP_INCHES / 2) / up, words, fontsize=8, weight="bold", va="bottom")
    for caption, pixels in card.pictures:
        height = width * pixels.shape[0] / pixels.shape[1]
        axes = figure.add_axes((left / across, (below - height) / up, width / across, height / up))
        axes.imshow(pixels, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        middle = (left + width / 2) / across
        figure.text(middle, (below - height - 0.03) / up, caption, color=MUTED, fontsize=7, ha="center", va="top")
        left += _INCHES


def _draw_scale(figure: Figure) -> None:
    """The colours of heat in the lower left corner."""
    (across, up), (width, height) = figure.get_size_inches(), _SCALE_INCHES
    left, middle = 0.36, _GAP_INCHES + _STRIP_INCHES / 2
    axes = figure.add_axes((left / across, (middle - height / 2) / up, width / across, height / up))
    axes.imshow(scale(), aspect="auto")
    axes.set_axis_off()
    for word, beside, side in (("low", left - _GAP_INCHES, "right"), ("high", left + width + _GAP_INCHES, "left")):
        figure.text(beside / across, middle / up, word, color=MUTED, fontsize=7, ha=side, va="center_baseline")
