"""The page of a version that was trained elsewhere: what there is to show is shown, and nothing else is on it."""

import dataclasses
import json

import msgspec
import pages
import pytest
from proving import in_its_process

from bundle import store
from training.report import facts
from training.report.make import make_report, read_subject

ALWAYS = ["summary", "golden", "proof", "speed"]
INSIDE = ["summary", "architecture", "golden", "filters", "layers", "reasons", "proof", "speed"]


def page_of(model):
    return pages.Page((model.repository / model.name / "1" / "report" / "index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "sections"), [("keras", INSIDE), ("h5", INSIDE), ("module", ALWAYS), ("onnx", ALWAYS)]
)
def test_every_section_has_something_to_show(foreign, name, sections):
    page = page_of(foreign(name))
    assert page.is_well_formed
    assert [attributes["id"] for attributes in page.all("section")] == sections
    assert page.missing == set()


def test_it_says_what_was_read_and_what_was_said(foreign):
    said = page_of(foreign("h5")).texts["summary"]
    assert all(words in said for words in ("m.h5", "Keras model", "--preprocess imagenet-caffe: RGB turned to BGR"))


def test_the_network_is_shown_as_its_owner_built_it(foreign):
    page = page_of(foreign("keras"))
    assert all(words in page.texts["architecture"] for words in ("Rescaling", "Conv2D 3×3, 4", "Dense, 3"))
    assert "sequential/conv2d" in page.texts["filters"]
    assert page.texts["reasons"].count("Grad-CAM") > 8


def test_the_golden_pictures_have_the_originals_answers(foreign):
    model = foreign("onnx")
    bundle = store.open_bundle(model.repository / model.name / "1")
    answers = bundle.golden_outputs()["probabilities"]
    shown = page_of(model).texts["golden"]
    assert all(f"{'abc'[row.argmax()]} {row.max():.1%}" in shown for row in answers if row.max() <= 0.999)


def test_proof_and_speed_are_tables(foreign):
    model = foreign("keras")
    metrics = json.loads((model.repository / model.name / "1" / "report" / "metrics.json").read_text())
    assert [(row["format"], row["head"], row["batch_size"]) for row in metrics["parity"]] == [
        (name, "class", size) for name in ("onnx", "saved_model") for size in (1, 3, 64)
    ]
    assert [(run["variant"], run["batch_size"]) for run in metrics["speed"]["runs"]] == [
        (name, size) for name in ("onnx", "saved_model") for size in (1, 16)
    ]
    assert all(run["images_per_second"] > 0 for run in metrics["speed"]["runs"])


@pytest.mark.parametrize("key", ["golden_accuracy", "test_accuracy"])
def test_an_accuracy_on_golden_pictures_is_called_so_in_older_versions_too(foreign, key):
    bundle = store.open_bundle(foreign("onnx").repository / "onnx" / "1")
    manifest = msgspec.structs.replace(bundle.manifest, metrics={key: 0.75})
    headline = facts.headline(read_subject(dataclasses.replace(bundle, manifest=manifest), "onnx"))
    assert headline["accuracy on labelled golden pictures"] == "75.00%"
    assert "test accuracy" not in headline


@pytest.mark.parametrize("name", ["keras", "onnx"])
def test_it_is_made_again_from_the_version_alone(foreign, name, tmp_path):
    bundle = store.open_bundle(foreign(name).repository / name / "1")
    make_report(bundle, tmp_path / "again", name)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (bundle.path / "report" / path.name).read_bytes(), path.name


def test_verification_says_nothing_of_the_machine(foreign):
    """In a process of its own, which starts TensorFlow for the SavedModel."""
    said = in_its_process("verify", foreign("h5").repository)
    assert said.count("ok") == 2
