"""Charts and tiles: what is drawn depends on what is shown, and nothing in a name breaks it."""

import base64
import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from training.calibrate import reliability
from training.visualize import style, tiles
from training.visualize.confusion import confusion_matrix
from training.visualize.curves import learning_curve
from training.visualize.embedding import embedding, principal_components
from training.visualize.reliability import reliability_diagram
from training.visualize.sheet import Card, sheet

NAMES = ("one", "two", "three")
HOSTILE = ("<script>alert(1)</script>", "$\\frac{", "犬 & 猫")


def pixels(figure):
    with Image.open(io.BytesIO(style.png(figure))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("epochs", [1, 2, 50])
def test_curves_of_any_length_are_drawn(epochs):
    values = tuple(np.linspace(0.1, 0.9, epochs))
    assert pixels(learning_curve("Loss", values, values, epochs - 1)).std() > 5


def test_another_epoch_kept_is_another_picture():
    values = (0.5, 0.4, 0.3)
    first, last = (pixels(learning_curve("Loss", values, values, kept)) for kept in (0, 2))
    assert (first != last).any()


def test_a_perfect_model_and_a_wrong_one_are_drawn_differently():
    perfect = pixels(confusion_matrix(np.diag([5, 5, 5]), NAMES))
    wrong = pixels(confusion_matrix(np.roll(np.diag([5, 5, 5]), 1, axis=1), NAMES))
    assert perfect.shape == wrong.shape
    assert (perfect != wrong).any()


@pytest.mark.parametrize("classes", [2, 3, 30, 200])
def test_any_number_of_classes_is_drawn_and_an_empty_row(classes):
    confusion = np.eye(classes, dtype=np.int64)
    confusion[0, 0] = 0
    assert pixels(confusion_matrix(confusion, [f"class {n}" for n in range(classes)])).std() > 1


def test_a_thousand_classes_are_one_picture_that_shows_every_mistake():
    confusion = np.diag(np.full(1000, 50))
    confusion[10, 900] = 1
    drawing = style.svg(confusion_matrix(confusion, [f"class {n}" for n in range(1000)]))
    assert len(drawing) < 200_000
    embedded = re.search(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", drawing)
    with Image.open(io.BytesIO(base64.b64decode(embedded[1]))) as image:
        cells = np.asarray(image.convert("RGBA"))
    assert cells.shape == (1000, 1000, 4)
    assert np.count_nonzero(cells[..., 3]) == 1001


def test_long_names_leave_room_for_the_chart():
    short, long = (
        style.svg(confusion_matrix(np.diag([5, 5]), [f"{word} {n}" for n in "ab"])) for word in ("class", "x" * 200)
    )
    assert "x" * 30 not in long
    assert "class a" in short


def test_one_or_two_reliability_curves_are_drawn():
    curve = reliability(np.linspace(0.05, 1, 50), np.arange(50) % 3 > 0)
    other = reliability(np.linspace(0.5, 1, 50), np.arange(50) % 3 > 0)
    one, two = (reliability_diagram(curves) for curves in ({"a": curve}, {"a": curve, "b": other}))
    assert (pixels(one) != pixels(two)).any()


def test_principal_components_separate_two_clusters():
    random = np.random.default_rng(0)
    centres = np.repeat([[0.0] * 20, [3.0] * 20], 50, axis=0)
    found = principal_components(centres + random.normal(0, 0.5, centres.shape))
    first, second = found.points[:50, 0], found.points[50:, 0]
    assert max(first.max(), second.max()) - min(first.min(), second.min()) > 0
    assert first.max() < second.min() or second.max() < first.min()
    assert found.points.shape == (100, 4)
    assert (np.diff(found.shares) <= 0).all()
    assert found.shares[0] > 0.8
    assert found.shares.sum() <= 1


def test_principal_components_of_all_axes_keep_distances():
    features = np.random.default_rng(1).normal(size=(30, 4))
    points = principal_components(features).points
    assert np.allclose(np.linalg.norm(points[3] - points[7]), np.linalg.norm(features[3] - features[7]))
    assert np.array_equal(points, principal_components(features).points)


def test_equal_features_are_one_point():
    found = principal_components(np.ones((5, 3)))
    assert np.allclose(found.points, 0)
    assert np.allclose(found.shares, 0)


def test_charts_take_any_name_and_point_nowhere():
    points = principal_components(np.random.default_rng(0).normal(size=(30, 6)))
    figures = [
        confusion_matrix(np.full((3, 3), 2), HOSTILE),
        embedding(points, np.arange(30) % 3, HOSTILE),
        learning_curve(HOSTILE[0], [1.0, 2.0], [2.0, 1.0], 0),
        sheet([Card(name, (("", tiles.heat(np.eye(4))),)) for name in HOSTILE]),
    ]
    for figure in figures:
        assert pixels(figure).std() > 1
        drawing = style.svg(figure)
        words = " ".join(ET.fromstring(drawing).itertext())  # noqa: S314 - it is our own
        assert "<script>" in words
        assert not re.search(r"(?:href|src)=\"(?!#|data:)", drawing)
        assert not re.search(r"url\((?!#)", drawing)


def test_a_sheet_has_its_heading_above_and_the_scale_below_the_cards():
    cards = [Card("boot 99.9%", (("Grad-CAM", tiles.heat(np.eye(40))),))]
    bare, whole = sheet(cards), sheet(cards, "clothes version 3", has_scale=True)
    words = {text.get_text(): text.get_position()[1] for text in whole.texts}
    assert words.keys() == {"boot 99.9%", "Grad-CAM", "clothes version 3", "low", "high"}
    assert words["clothes version 3"] > words["boot 99.9%"] > words["Grad-CAM"] > words["low"] == words["high"] > 0
    assert whole.get_figheight() > bare.get_figheight()
    assert whole.get_figwidth() == bare.get_figwidth()
    assert {text.get_text() for text in bare.texts} == {"boot 99.9%", "Grad-CAM"}


def test_a_drawing_follows_the_pages_colours():
    drawing = style.svg(learning_curve("Loss", [1.0, 2.0], [2.0, 1.0], 0))
    assert "var(--ink)" in drawing
    assert "var(--blue)" in drawing
    assert not re.search(f"{style.INK}|{style.MUTED}|{style.LINE}|{style.SURFACE}|{style.BLUE}", drawing)


def test_the_same_figure_is_the_same_file_and_nothing_global_changes():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    one, other = (learning_curve("Loss", [1.0, 2.0], [2.0, 1.0], 0) for _ in range(2))
    assert style.svg(one) == style.svg(other)
    assert style.png(one) == style.png(other)
    assert dict(mpl.rcParams) == before


def test_an_overlay_leaves_the_picture_where_there_is_no_heat():
    image = np.full((14, 14, 1), 100, np.uint8)
    values = np.zeros((7, 7), np.float32)
    values[0, 0] = 1
    mixed = tiles.overlay(image, values)
    assert mixed.shape == (112, 112, 3)
    assert (mixed[80:, 80:] == 100).all()
    assert mixed[2, 2].std() > 10
    assert (tiles.overlay(image, np.zeros((7, 7), np.float32)) == 100).all()


def test_a_grid_keeps_its_tiles_and_has_clear_gaps():
    tile = np.full((4, 5, 3), 7, np.uint8)
    grid = tiles.grid([tile] * 3, columns=2)
    assert grid.shape == (9, 11, 4)
    assert (grid[:4, :5, :3] == 7).all()
    assert (grid[4] == 0).all()
    assert (grid[5:, 6:, 3] == 0).all()


def test_signed_values_are_white_at_zero_and_of_two_colours():
    low, zero, high = tiles.signed(np.array([[-2.0, 0.0, 2.0]]))[0].astype(int)
    assert zero.min() > 240
    assert low[2] > low[1]  # purple
    assert high[0] > high[2] + 50  # orange


def test_a_large_picture_is_shrunk_in_proportion():
    assert tiles.shrunk(np.zeros((300, 600, 3), np.uint8), 160).shape == (80, 160, 3)
    assert tiles.shrunk(np.zeros((30, 60, 3), np.uint8), 160).shape == (30, 60, 3)
