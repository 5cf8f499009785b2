"""How every chart looks, and how a chart becomes a PNG or an SVG.

Charts are drawn without pyplot, so no display is needed and nothing global changes. Ink, muted text, lines and surface
are drawn in colours that `svg` replaces by the page's CSS variables, so one drawing serves light and dark. The colours
of data are from the palette of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, LINE, SURFACE = "#1c2127", "#666f7a", "#dfe3e8", "#fefefe"
BLUE, ORANGE, GREEN, VERMILION, PINK = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
SERIES = (BLUE, ORANGE, GREEN, PINK, "#56b4e9", VERMILION, "#8a6d3b", "#7f7f7f", "#b8a900", "#6a51a3")

_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", SURFACE: "--surface", BLUE: "--blue"}
_DOTS_PER_INCH = 144
_LONGEST = 24  # letters of a name that a chart has room for
_LOOK: Any = {
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": SURFACE,
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "font.size": 9,
    "grid.color": LINE,
    "image.composite_image": False,  # else an SVG has pictures at the figure's resolution, not at their own
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "convoy",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5"
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
}


@contextmanager
def look() -> Iterator[None]:
    """Within it figures are made, and saved, in the common style."""
    with mpl.rc_context(_LOOK), warnings.catch_warnings():
        # A class may be called in any script; a browser finds the letters that this font lacks.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


def chart(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of one chart, its sides in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def short(name: str) -> str:
    """A class's name as a chart has room for it."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, in the light colours."""
    file = io.BytesIO()
    with look():
        figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
    figure.set_layout_engine("none")  # it is laid out now, and doing so takes as long as drawing
    return file.getvalue()


def svg(figure: Figure) -> str:
    """The figure as an SVG element for a page that sets --ink, --muted, --line, --surface and --blue.

    Text stays text in the page's font, and nothing in it points outside.
    """
    file = io.StringIO()
    with look():
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawing = file.getvalue()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing[drawing.index("<svg") :], flags=re.DOTALL)
    drawing = re.sub(r' (?:width|height)="[\d.]+pt"', "", drawing, count=2)
    drawing = re.sub(r"""font: ((?:bold )?[\d.]+px)[^;"]*""", r"font: \1 var(--font)", drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return drawing
