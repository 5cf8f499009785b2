"""The network's SVG: well formed, complete, escaped."""

from xml.etree import ElementTree as ET

import keras
import pytest
import small_models
from keras import layers

from training.visualize.architecture import draw
from training.visualize.graph import read_graph

SVG = "{http://www.w3.org/2000/svg}"


def parsed(drawing):
    return ET.fromstring(drawing.svg)  # noqa: S314 - it is our own


def words(drawing):
    return " ".join(parsed(drawing).itertext())


@pytest.mark.parametrize(
    "build", [small_models.chain, small_models.residual, small_models.shared_layers, small_models.fed_by_itself]
)
def test_every_block_and_connection_is_drawn(build):
    model = build()
    graph, (drawing,) = read_graph(model), draw(model)
    root = parsed(drawing)
    frames = [rect for rect in root.iter(f"{SVG}rect") if rect.get("width") == "288"]
    assert len(frames) == len(graph.blocks)
    assert len([path for path in root.iter(f"{SVG}path") if path.get("fill") == "none"]) == len(graph.edges)
    assert root.get("viewBox").split()[2] == str(drawing.width)


def test_inner_models_are_drawn_once_below():
    outer, inner = draw(small_models.siamese())
    assert (outer.name, inner.name) == ("siamese", "encoder")
    assert "2 calls" in words(outer)
    assert "GlobalAveragePooling2D" in words(inner)


def test_names_are_escaped():
    pixels = keras.Input((4, 4, 1), name="a&b")
    model = keras.Model(pixels, {"<script>alert(1)</script>": layers.Flatten()(pixels)})
    (drawing,) = draw(model)
    assert "<script" not in drawing.svg
    assert "<script>" in words(drawing)
    assert "a&b" in words(drawing)


def test_code_without_a_graph_is_not_drawn():
    assert draw(small_models.Code()) == ()
