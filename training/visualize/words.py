"""What a block of a network is called: its layer's kind with the numbers that matter. Used where layers are named."""

from typing import Any

from training.visualize.graph import Block, Shape
from training.visualize.walk import has_graph

_SHORT = {"BatchNormalization": "batch norm", "LayerNormalization": "layer norm", "ReLU": "relu", "Softmax": "softmax"}


def title_of(block: Block) -> str:
    """As "Conv2D 3×3 /2, 64": kind, kernel or window, stride, filters or units."""
    layer = block.layers[0]
    facts = [f"Model {layer.name}" if has_graph(layer) else type(layer).__name__]
    facts += [
        "×".join(map(str, sides)) for name in ("kernel_size", "pool_size") if (sides := getattr(layer, name, None))
    ]
    if not hasattr(layer, "pool_size") and (stride := _largest(layer, "strides")) > 1:
        facts.append(f"/{stride}")
    if (dilation := _largest(layer, "dilation_rate")) > 1:
        facts.append(f"dilated {dilation}")
    count = getattr(layer, "filters", None) or getattr(layer, "units", None)
    return " ".join(facts) + (f", {count}" if count else "")


def note_of(block: Block) -> str:
    """What else the block does, as "shared, 2 calls · batch norm · relu"."""
    first, *rest = block.layers
    notes = [f"shared, {block.calls} calls"] if block.calls > 1 else []
    notes += ["drawn below"] if has_graph(first) else []
    notes += [activation] if (activation := _activation(first)) else []
    return " · ".join(notes + [_finish(layer) for layer in rest])


def shape_words(shape: Shape) -> str:
    """As "28×28×16"; a side of any size is a question mark."""
    return "×".join("?" if side is None else str(side) for side in shape) or "1"


def _largest(layer: Any, name: str) -> int:
    sides = getattr(layer, name, None) or 1
    return max(sides) if isinstance(sides, tuple | list) else sides


def _activation(layer: Any) -> str:
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return "" if name == "linear" else name


def _finish(layer: Any) -> str:
    if rate := getattr(layer, "rate", None):
        return f"dropout {rate:g}"
    kind = type(layer).__name__
    return _activation(layer) or _SHORT.get(kind, kind)
