"""The page: complete, in itself, escaped, whatever the model is and however little is known of it."""

import dataclasses
import re
import shutil

import keras
import msgspec
import numpy as np
import pages
import pytest
import shapes
import small_models
from PIL import Image

from bundle import store
from training.datasets.encoding import encode
from training.evaluate import Evaluation
from training.report import facts, insides
from training.report.make import make_report, page_of, sections_of
from training.report.record import Record
from training.visualize import tiles

HOSTILE = "<script>alert(\"1\")</script> & 'x'"


@pytest.fixture(scope="session")
def page(published):
    return pages.Page((published.path / "report" / "index.html").read_text(encoding="utf-8"))


def html_of(subject):
    return page_of(subject, sections_of(subject))


def sections(page):
    return [attributes["id"] for attributes in page.all("section")]


def all_but(*names):
    return [name for name in pages.SECTIONS if name not in names]


def test_every_section_is_there_and_nothing_is_missing(page):
    assert page.is_well_formed
    assert sections(page) == pages.SECTIONS
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in pages.SECTIONS}
    assert page.missing <= {"mistakes"}  # the small model may make none


def test_the_page_says_what_the_run_was(page, published):
    assert f"{published.manifest.metrics['test_accuracy']:.2%}" in page.texts[""]
    assert all(name in page.texts["summary"] for name in (*shapes.NAMES, "sequential", "learning rate"))
    assert all(name in page.texts["classes"] for name in shapes.NAMES)
    assert "Conv2D 3×3, 16" in page.texts["architecture"]
    assert "saved_model" in page.texts["proof"]
    assert "Machine-dependent" in page.texts["speed"]


def test_nothing_on_the_page_points_outside(page):
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert not page.all("script")
    assert not page.all("link")
    html = " ".join(page.texts.values())
    assert not re.search(r"@import|url\((?!#)", html)


def test_every_figure_has_a_caption_and_every_picture_a_text(page):
    assert len(page.all("figcaption")) == len(page.all("figure"))
    assert page.all("img")
    assert all(image["alt"] for image in page.all("img"))


def test_the_pictures_lie_beside_the_page(published):
    report = published.path / "report"
    names = {path.name for path in report.glob("*.png")}
    assert names >= {
        "learning_curve_loss.png",
        "learning_curve_accuracy.png",
        "confusion_matrix.png",
        "reliability.png",
        "embedding.png",
        "filters.png",
        "maximised.png",
        "feature_maps.1.png",
        "explanations.png",
    }
    for name in names:
        with Image.open(report / name) as image:
            image.verify()
    assert (report / "architecture.svg").read_text().startswith("<svg")
    assert (report / "index.html").stat().st_size < 3_000_000


@pytest.mark.parametrize(
    ("build", "labels"),
    [
        (small_models.siamese, {"same": ("different", "same")}),
        (small_models.residual, {"class": ("a", "b", "c"), "coarse": ("x", "y")}),
        (small_models.inner_transfer, {"class": ("a", "b")}),
    ],
)
def test_models_of_every_shape_have_a_page(build, labels):
    model = build()
    page = pages.Page(html_of(pages.subject(model, labels)))
    assert page.is_well_formed
    assert sections(page) == all_but("learning", "proof")  # of which the made-up run has nothing
    for head in labels if len(labels) > 1 else ():
        assert f"Head {head}: " in page.texts["classes"]
    if len(model.inputs) > 1:
        assert "right" in page.texts["reasons"]


def test_names_are_escaped_everywhere():
    labels = {"class": (HOSTILE, "b", "c")}
    subject = pages.subject(small_models.chain(), labels, name=HOSTILE, config={HOSTILE: HOSTILE})
    html = html_of(subject)
    page = pages.Page(html)
    assert page.is_well_formed
    assert not page.all("script")
    assert "alert(" in page.texts[""]
    assert HOSTILE in page.texts["classes"]
    assert HOSTILE in page.texts["summary"]
    assert [tag for tag, attributes in page.elements if any(name.startswith("on") for name in attributes)] == []


def test_what_is_not_known_is_left_out():
    """A version that is its contract alone: no history, no test answers, no Keras model."""
    subject = dataclasses.replace(pages.subject(None, {"class": ("a", "b")}), record=Record(), why_no_model="")
    page = pages.Page(html_of(subject))
    assert sections(page) == ["summary", "speed"]
    assert page.missing == set()
    assert {link["href"] for link in page.all("a")} == {"#summary", "#speed"}
    damaged = dataclasses.replace(subject, why_no_model="It is damaged.")
    assert sections(pages.Page(html_of(damaged))) == ["summary", "architecture", "speed"]


def test_golden_pictures_stand_where_no_test_pictures_do():
    """Scores that are no probabilities are told as numbers."""
    subject = pages.subject(None, {"class": ("a", "b")})
    encoded = [encode(pixels) for pixels in small_models.pictures(2)]
    scores = np.array([[0.25, 0.75], [900.0, -3.0]], np.float32)
    subject = dataclasses.replace(
        subject, record=Record(), golden={"image": encoded}, golden_answers={"probabilities": scores}
    )
    assert "golden" not in sections(pages.Page(html_of(dataclasses.replace(subject, golden_answers={}))))
    shown = pages.Page(html_of(subject)).texts["golden"]
    assert ("b 75.0%" in shown, "a >99.9%" in shown) == (True, True)
    (head,) = subject.manifest.heads
    logits = msgspec.structs.replace(subject.manifest, heads=(msgspec.structs.replace(head, activation="none"),))
    shown = pages.Page(html_of(dataclasses.replace(subject, manifest=logits))).texts["golden"]
    assert ("b 0.75" in shown, "a 900" in shown, "%" in shown) == (True, True, False)


def test_a_model_that_is_code_is_not_looked_into():
    model = small_models.Code()
    model(small_models.pictures())
    subject = dataclasses.replace(pages.subject(None, {"class": ("a", "b")}), model=model, record=Record())
    assert "no graph of layers" in pages.Page(html_of(subject)).texts["architecture"]


def test_a_picture_that_cant_be_drawn_costs_no_run():
    subject = pages.subject(None, {"class": ("a", "b")})
    broken = dataclasses.replace(subject.record, metrics={"history": {"loss": [1.0], "val_loss": [1.0]}})
    page = pages.Page(html_of(dataclasses.replace(subject, record=broken)))
    assert sections(page) == all_but("filters", "layers", "reasons", "proof")
    assert "could not be drawn: KeyError: 'best_epoch'" in page.texts["learning"]


def test_a_model_that_makes_no_mistake_is_praised():
    subject = pages.subject(None, {"class": ("a", "b")})
    perfect = dataclasses.replace(
        subject.record,
        mistakes={
            "class": dataclasses.replace(
                subject.record.mistakes["class"], rows=subject.record.mistakes["class"].rows[:0]
            )
        },
    )
    page = pages.Page(html_of(dataclasses.replace(subject, record=perfect)))
    assert "Not one of the test examples" in page.texts["mistakes"]


def test_a_class_without_pictures_or_answers_has_a_dash_and_no_share():
    """Nothing is known of class c, and of class b only that its one answer was wrong."""
    subject = pages.subject(None, {"class": ("a", "b", "c")})
    answers = Evaluation(np.array([0, 0, 0]), np.array([0, 0, 1]), np.ones(3, np.float32), 3)
    record = dataclasses.replace(subject.record, evaluations={"class": answers}, mistakes={})
    (section,) = (one for one in sections_of(dataclasses.replace(subject, record=record)) if one.anchor == "classes")
    table = section.parts[1]
    assert table.rows == [("a", 1.0, 2 / 3, 0.8, 3), ("b", 0.0, None, 0.0, 0), ("c", None, None, None, 0)]
    html = html_of(dataclasses.replace(subject, record=record))
    assert html.count('class="share none"') == 4


@pytest.mark.parametrize(("dots", "charts"), [(30, 2), (29, 0)])
def test_of_few_examples_no_embedding_is_drawn_and_the_reason_is_said(dots, charts):
    subject = pages.subject(None, {"class": ("a", "b")})
    flat = subject.record.embedding
    few = dataclasses.replace(flat, points=flat.points[:dots], classes=flat.classes[:dots])
    record = dataclasses.replace(subject.record, embedding=few)
    (section,) = (one for one in sections_of(dataclasses.replace(subject, record=record)) if one.anchor == "projection")
    assert [part.kind for part in section.parts] == (["chart"] * charts or ["missing"])
    assert charts or section.parts[0].sentence.startswith("29 test examples are too few")


def test_what_shows_heat_has_its_scale_on_the_page_and_in_the_file(page, published):
    files = [published.path / "report" / "explanations.png", *(published.path / "report").glob("feature_maps.*.png")]
    scales = [image["alt"] for image in page.all("img")].count("black, violet, orange, pale yellow")
    assert scales == len(files) > 1
    for file in files:
        foot = np.asarray(Image.open(file).convert("RGB"))[-50:]
        assert all((foot == colour).all(axis=2).any() for colour in (tiles.scale()[0, 0], tiles.scale()[0, -1]))


def test_many_classes_are_listed_with_the_worst_first_in_a_box_that_scrolls():
    names = tuple(f"class {number}" for number in range(200))
    subject = pages.subject(None, {"class": names})
    labels = np.arange(200)
    answers = Evaluation(labels, np.where(labels == 150, 7, labels), np.full(200, 0.9, np.float32), 200)
    flat = dataclasses.replace(subject.record.embedding, classes=np.arange(30))
    record = dataclasses.replace(subject.record, evaluations={"class": answers}, mistakes={}, embedding=flat)
    html = html_of(dataclasses.replace(subject, record=record))
    assert html.index(">class 150<") < html.index(">class 7<") < html.index(">class 0<")
    assert "scroll tall" in html
    assert len(html) < 500_000


@pytest.mark.parametrize(
    ("seconds", "words"), [(7.4, "7 s"), (119.6, "2 min 0 s"), (3599, "59 min 59 s"), (36_000, "10 h 0 min")]
)
def test_times_are_told_in_units_that_fit(seconds, words):
    subject = pages.subject(None, {"class": ("a", "b")})
    record = dataclasses.replace(subject.record, metrics={"training_seconds": seconds})
    assert facts.headline(dataclasses.replace(subject, record=record))["training"] == words


@pytest.mark.parametrize(
    ("count", "words"), [(999, "999"), (999_499, "999 k"), (999_500, "1 M"), (1_234_567, "1.23 M")]
)
def test_parameters_are_told_in_three_digits(count, words):
    model = keras.Sequential([keras.Input((count - 1,)), keras.layers.Dense(1)])
    subject = dataclasses.replace(pages.subject(None, {"class": ("a", "b")}), model=model)
    assert facts.headline(subject)["parameters"] == words


def test_two_curves_are_drawn_where_calibration_was_recorded():
    subject = pages.subject(None, {"class": ("a", "b")})
    bins = [
        {"lower": 14 / 15, "upper": 1.0, "count": 20, "confidence": 0.95, "accuracy": 0.7},
        {"lower": 8 / 15, "upper": 9 / 15, "count": 40, "confidence": 0.6, "accuracy": 0.6},
    ]
    record = dataclasses.replace(
        subject.record, metrics={"heads": {"class": {"calibration": {"temperature": 0.7, "before": {"bins": bins}}}}}
    )
    one, two = (pages.Page(html_of(dataclasses.replace(subject, record=each))) for each in (subject.record, record))
    assert "before: ECE 0.083" in two.texts["confidence"]
    assert "before" not in one.texts["confidence"]


def test_what_was_settled_for_the_scores_is_told():
    subject = pages.subject(None, {"class": ("a", "b")})
    bins = [{"lower": 14 / 15, "upper": 1.0, "count": 60, "confidence": 0.95, "accuracy": 0.7}]
    fitted = {
        "temperature": 1.25,
        "before": {"ece": 0.25, "nll": 0.9, "bins": bins},
        "after": {"ece": 0.05, "nll": 0.7, "bins": bins},
        "threshold": {"score": 0.8},
        "test_precision": 0.99,
        "test_coverage": 0.75,
    }
    record = dataclasses.replace(subject.record, metrics={"heads": {"class": {"calibration": fitted}}})
    words = pages.Page(html_of(dataclasses.replace(subject, record=record))).texts["confidence"]
    assert "none answered" not in words
    for said in ("1.25", "0.050, 0.250 before", "0.700, 0.900 before", "80.0%", "75.0% of the test", "99.0%"):
        assert said in words


def test_where_no_test_example_is_answered_that_is_said():
    subject = pages.subject(None, {"class": ("a", "b")})
    score = {"ece": 0.05, "nll": 0.7}
    settled = {"temperature": None, "before": score, "after": score, "threshold": {"score": 0.99}}
    settled |= {"test_precision": None, "test_coverage": 0.0}
    record = dataclasses.replace(subject.record, metrics={"heads": {"class": {"calibration": settled}}})
    words = pages.Page(html_of(dataclasses.replace(subject, record=record))).texts["confidence"]
    assert "0.0% of the test examples" in words
    assert "none answered" in words


def test_a_wrong_answer_is_explained_as_one():
    subject = pages.subject(small_models.chain(), {"class": ("a", "b", "c")})
    answers = subject.record.evaluations["class"]
    (cards,) = insides.reasons(subject).parts
    wrong = (answers.labels != answers.predicted)[subject.record.examples.rows]
    assert [card.is_wrong for card in cards.cards] == wrong.tolist()
    assert {card.note for card in cards.cards if card.is_wrong} <= {"truth: a", "truth: b", "truth: c"}


def test_a_report_is_made_again_byte_for_byte(published, tmp_path):
    made = make_report(published, tmp_path / "again", published.name)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (published.path / "report" / path.name).read_bytes(), path.name
    assert made == tmp_path / "again" / "index.html"


def test_a_version_whose_model_cant_be_loaded_has_a_report_without_it(published, tmp_path):
    """The golden pictures stand for examples that nobody chose, so a page is made from the contract alone."""
    folder = tmp_path / "other" / "1"
    shutil.copytree(published.path, folder)
    for name in ("metrics.json", "record.npz"):
        (folder / "report" / name).unlink()
    with_model = pages.Page(make_report(store.open_bundle(folder), tmp_path / "a", "other").read_text())
    assert "Grad-CAM" in with_model.texts["reasons"]
    (folder / "report" / "model.keras").write_bytes(b"not a model")
    without = pages.Page(make_report(store.open_bundle(folder), tmp_path / "b", "other").read_text())
    assert "can't be loaded" in without.texts["architecture"]
    assert sections(without) == ["summary", "architecture", "golden", "speed"]
    code = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x)])
    code.save(folder / "report" / "model.keras")
    refused = pages.Page(make_report(store.open_bundle(folder), tmp_path / "c", "other").read_text())
    assert "code that came with the file" in refused.texts["architecture"]
