"""Sections as one HTML page that needs nothing else: styles, drawings and pictures are inside it, and no script.

Jinja escapes every text, since labels, layers and configurations may hold anything; only our own drawings, which escape
for themselves, go in as they are. Called by `make`.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from training.report.parts import Section
from training.visualize import style, tiles

_TEMPLATES = Path(__file__).parent / "templates"


def render(name: str, subtitle: str, headline: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The page about the model called `name`; `headline` are the figures at its top."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # What is marked safe here is drawn by our own code, which escapes what it is given.
    environment.filters["drawn"] = lambda figure: Markup(style.svg(figure))  # noqa: S704
    environment.filters["as_is"] = Markup
    environment.filters["inline"] = _inline
    styles = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        name=name,
        subtitle=subtitle,
        headline=headline,
        sections=sections,
        styles=styles,
        scale=tiles.scale(),
    )


def _inline(pixels: tiles.Pixels) -> str:
    """A picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(tiles.png(pixels)).decode()
