"""The network as a drawing: an SVG of its blocks with their shapes and weights, made without graphviz.

Colours come from the page's CSS variables, with fallbacks for the file on its own. Every name is escaped. Called by
`training.report`.
"""

from dataclasses import dataclass
from html import escape

import keras

from training.visualize.graph import Block, Graph, read_graph
from training.visualize.layout import Point, lay_out
from training.visualize.style import BLUE, GREEN, INK, LINE, MUTED, ORANGE, PINK, SURFACE
from training.visualize.walk import has_graph
from training.visualize.words import note_of, shape_words, title_of

_WIDTH, _HEIGHT, _LAYER = 288, 46, 74  # a block, and from one layer to the next, in units of the drawing
_MARGIN = 10
_LONGEST, _LONGEST_NOTE = 29, 34  # letters that fit beside a shape, and beside a count

_GREY, _PURPLE = "#8a929c", "#6a51a3"
_INK, _MUTED = f"var(--ink, {INK})", f"var(--muted, {MUTED})"
_KINDS = {
    "Conv": BLUE,
    "Dense": GREEN,
    "Pool": ORANGE,
    "Add": PINK,
    "Concatenate": PINK,
    "Subtract": PINK,
    "Multiply": PINK,
    "Average": PINK,
    "Maximum": PINK,
    "Dot": PINK,
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """One SVG, `width` units wide at its natural size, of the model called `name`."""

    name: str
    svg: str
    width: int


def draw(model: keras.Model) -> tuple[Drawing, ...]:
    """The model, then each model within it, once; nothing where it is code without a graph."""
    if not has_graph(model):
        return ()
    graph = read_graph(model)
    drawings = {id(model): _draw_graph(model.name, graph)}
    for layer in (layer for block in graph.blocks for layer in block.layers if has_graph(layer)):
        if id(layer) not in drawings:
            inner = draw(layer)
            drawings[id(layer)] = inner[0]
            drawings |= {id(drawing): drawing for drawing in inner[1:]}
    return tuple(drawings.values())


def _draw_graph(name: str, graph: Graph) -> Drawing:
    layout = lay_out(len(graph.blocks), graph.edges)
    width = round(layout.width * _WIDTH + 2 * _MARGIN)
    height = (layout.height - 1) * _LAYER + _HEIGHT + 2 * _MARGIN
    edges = "".join(_edge(route) for route in layout.routes.values())
    blocks = "".join(_block(block, centre) for block, centre in zip(graph.blocks, layout.centres, strict=True))
    title = f"Graph of {name}: {len(graph.blocks)} blocks, {len(graph.edges)} connections"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="var(--font, system-ui, sans-serif)"><title>{escape(title)}</title>{edges}{blocks}</svg>'
    )
    return Drawing(name, svg, width)


def _at(point: Point) -> Point:
    return _MARGIN + point[0] * _WIDTH, _MARGIN + _HEIGHT / 2 + point[1] * _LAYER


def _edge(route: tuple[Point, ...]) -> str:
    """A curve from the bottom of one block to the top of another, upright wherever it passes a layer."""
    points = [_at(point) for point in route]
    x, y = points[0][0], points[0][1] + _HEIGHT / 2
    path = f"M{x:.1f} {y:.1f}"
    for number, (to_x, middle) in enumerate(points[1:], 1):
        last = number == len(points) - 1
        to_y = middle - _HEIGHT / 2
        bend = (to_y - y) / 2
        path += f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y - (5 if last else 0):.1f}"
        x, y = to_x, middle + _HEIGHT / 2
        if not last:
            path += f"V{y:.1f}"
    tip = f"M{x - 3.5:.1f} {points[-1][1] - _HEIGHT / 2 - 6:.1f}l3.5 6l3.5 -6z"
    colour = f"var(--edge, {_GREY})"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/><path d="{tip}" fill="{colour}"/>'


def _block(block: Block, centre: Point) -> str:
    x, y = _at(centre)
    left, top, right = x - _WIDTH / 2, y - _HEIGHT / 2, x + _WIDTH / 2 - 12
    if block.role != "layer":
        name = f'<tspan font-weight="600" fill="{_INK}">{escape(_cut(block.name))}</tspan>'
        return _frame(left, top, _HEIGHT / 2) + _text(x, y + 4, f"{name} {shape_words(block.shape)}", "middle")
    weights = f"{block.parameters:,}" if block.parameters else ""
    stripe = (left + 6, top + 8, 4, _HEIGHT - 16)
    return (
        f"<g><title>{escape(', '.join(block.paths))}</title>{_frame(left, top, 8)}"
        + '<rect x="{:.1f}" y="{:.1f}" width="{}" height="{}" rx="2" '.format(*stripe)
        + f'fill="{_colour(block)}"/>'
        + _text(
            left + 19, top + 19, escape(_cut(title_of(block))), look=f'font-size="12.5" font-weight="600" fill="{_INK}"'
        )
        + _text(left + 19, top + 35, escape(_cut(note_of(block), _LONGEST_NOTE)))
        + _text(right, top + 19, shape_words(block.shape), "end")
        + _text(right, top + 35, weights, "end")
        + "</g>"
    )


def _frame(left: float, top: float, radius: float) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{_WIDTH}" height="{_HEIGHT}" rx="{radius:g}" '
        f'fill="var(--surface, {SURFACE})" stroke="var(--line, {LINE})" stroke-width="1.2"/>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start", look: str = f'font-size="11" fill="{_MUTED}"') -> str:
    """Words that are escaped already."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {look}>{words}</text>' if words else ""


def _colour(block: Block) -> str:
    if has_graph(block.layers[0]):
        return _PURPLE
    kind = type(block.layers[0]).__name__
    return next((colour for part, colour in _KINDS.items() if part in kind), _GREY)


def _cut(words: str, most: int = _LONGEST) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"
