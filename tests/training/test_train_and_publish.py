"""One real run from configuration to published version, looked at from all sides; and runs that must leave nothing."""

import csv
import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import shapes
from PIL import Image

from bundle import store
from bundle.errors import PublishError
from bundle.preprocessing import decode
from training import replay
from training.errors import TrainingDiverged
from training.golden import write_golden
from training.publish import train_and_publish
from training.tasks.classification import task


def test_what_is_published_is_complete(published):
    bundle = store.open_bundle(published.path)
    store.verify_files(bundle)
    assert (bundle.name, bundle.version) == ("shapes", 1)
    assert bundle.labels("class") == shapes.NAMES
    files = {path.relative_to(bundle.path).as_posix() for path in bundle.path.rglob("*") if path.is_file()}
    assert files >= {
        "manifest.json",
        "model.onnx",
        "saved_model.pb",
        "variables/variables.index",
        "labels/class.txt",
        "golden/outputs.npz",
        "report/index.html",
        "report/architecture.svg",
        "report/learning_curve_loss.png",
        "report/model.keras",
        "report/confusion_matrix.png",
        "report/metrics.json",
        "report/predictions.csv",
    }


def test_the_published_accuracy_is_what_every_format_gives_on_encoded_pictures(published, dataset):
    (spec,) = published.manifest.preprocessing
    accuracy = published.manifest.metrics["test_accuracy"]
    assert accuracy > 0.9
    assert published.variant("onnx").accuracy == accuracy
    pixels = np.stack([decode(png(image), spec) for image in dataset.test.images])
    for name in replay.OPENERS:
        answers = replay.open_format(name, published.path)({"image": pixels})["probabilities"].argmax(axis=1)
        assert (answers == dataset.test.labels).mean() == accuracy


def png(image):
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG")
    return file.getvalue()


def test_every_format_reproduces_the_golden_samples_alone_and_together(published):
    (spec,) = published.manifest.preprocessing
    pixels = np.stack([decode(picture, spec) for picture in published.golden_images("image")])
    expected = published.golden_outputs()["probabilities"]
    for variant in published.manifest.variants:
        run = replay.open_format(variant.format, published.path)
        for size in (1, 3, len(pixels)):
            answers = replay.in_batches(run, {"image": pixels}, size)["probabilities"]
            assert np.abs(answers - expected).max() < variant.tolerance


def test_the_golden_samples_touch_every_class_format_and_path(published, dataset):
    pictures = [Image.open(io.BytesIO(picture)) for picture in published.golden_images("image")]
    assert len(pictures) >= 16
    assert {picture.format for picture in pictures} == {"PNG", "JPEG"}
    assert any(picture.mode == "RGB" and picture.width != picture.height > 2 * shapes.SIDE for picture in pictures)
    answers = published.golden_outputs()["probabilities"].argmax(axis=1)
    assert set(answers.tolist()) == set(range(len(dataset.class_names)))


def test_golden_outputs_are_keras_own(tmp_path, published, dataset):
    """A model with known answers: the mean of each third of the picture."""
    (spec,) = published.manifest.preprocessing
    pixels = keras.Input(dataset.image_shape, dtype="uint8", name="image")
    thirds = keras.layers.Reshape((3, -1))(keras.layers.Rescaling(1.0)(pixels))
    model = keras.Model(pixels, {"means": keras.ops.mean(thirds, axis=2)})
    golden = write_golden(model, tmp_path, dataset.test, task(dataset), (spec,))
    files = [decode((tmp_path / path).read_bytes(), spec) for path in golden.images["image"]]
    expected = np.stack(files).reshape(len(files), 3, -1).mean(axis=2)
    with np.load(tmp_path / golden.outputs) as outputs:
        assert np.allclose(outputs["means"], expected, atol=1e-3)


def test_the_report_agrees_with_itself(published, dataset):
    metrics = json.loads((published.path / "report" / "metrics.json").read_text())
    with (published.path / "report" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["truth"] for row in rows] == [shapes.NAMES[label] for label in dataset.test.labels]
    right = sum(row["truth"] == row["predicted"] for row in rows)
    confusion = np.array(metrics["confusion"])
    assert right / len(rows) == metrics["test_accuracy"] == np.trace(confusion) / confusion.sum()
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in rows)
    assert [(one["format"], one["batch_size"]) for one in metrics["parity"]] == [
        (name, size) for name in ("onnx", "saved_model") for size in (1, 3, 64)
    ]
    assert len(metrics["history"]["val_loss"]) == 5


def test_the_manifest_says_what_is_usual(published, dataset):
    statistics = published.manifest.statistics
    assert statistics.inputs["image"].mean == pytest.approx([dataset.train.images.mean()])
    assert statistics.heads["class"].prior == pytest.approx([1 / 3] * 3)
    assert sum(statistics.heads["class"].confidence) == len(dataset.test)


def test_the_report_has_the_bins_of_a_reliability_diagram(published, dataset):
    metrics = json.loads((published.path / "report" / "metrics.json").read_text())
    calibration = metrics["heads"]["class"]["calibration"]
    for moment in ("before", "after"):
        assert sum(one["count"] for one in calibration[moment]["bins"]) == len(dataset.test)
    assert calibration["after"]["ece"] == published.manifest.metrics["test_ece"]
    assert calibration["temperature"] == published.manifest.heads[0].temperature


def test_it_says_how_to_train_it_again(published, dataset):
    provenance = published.manifest.provenance
    assert shapes.config(**provenance.config) == shapes.config(epochs=5)
    assert (provenance.seed, provenance.data_digest) == (0, dataset.digest)
    assert provenance.libraries["keras"] == keras.__version__
    assert {"python", "convoy-serving", "tensorflow"} <= provenance.libraries.keys()


def test_a_run_that_diverges_leaves_nothing(tmp_path, dataset):
    with pytest.raises(TrainingDiverged):
        train_and_publish(shapes.config(learning_rate=1e30, warmup=0.0), dataset, tmp_path)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(("repository", "name"), [("file", "shapes"), ("models", "../shapes"), ("models", "")])
def test_what_cant_be_published_is_said_before_training(tmp_path, dataset, repository, name):
    (tmp_path / "file").write_text("not a folder")
    said = []
    with pytest.raises(PublishError):
        train_and_publish(shapes.config(name=name), dataset, Path(tmp_path, repository), said.append)
    assert said == []
