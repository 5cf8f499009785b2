"""`convoy report` and `convoy show`: what they write, and each mistake in one sentence with exit code 2."""

import shutil
import sys

import keras
import pytest
import small_models
from PIL import Image
from typer.testing import CliRunner

import convoy
from training.report.record import save_model


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives its exit code and all that it said."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        result = CliRunner().invoke(convoy._app(), [str(one) for one in arguments], catch_exceptions=False)
        return result.exit_code, result.output

    return command


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "picture.png"
    Image.fromarray(small_models.pictures(1)[0, ..., 0]).save(file)
    return file


def test_a_report_is_made_beside_the_version(run, published, tmp_path):
    code, said = run("report", published.path.parent)
    assert code == 0
    assert said.startswith("- starting TensorFlow\n")
    assert "shapes-1-report/index.html" in said
    assert (tmp_path / "shapes-1-report" / "confusion_matrix.png").is_file()


def test_a_report_never_changes_a_version(run, published):
    code, said = run("report", published.path, "--out", published.path / "report")
    assert code == 2
    assert "must stay as they are" in said


def test_a_folder_without_a_version_and_one_that_cant_be_written_are_named(run, published, tmp_path):
    code, said = run("report", tmp_path / "nowhere")
    assert (code, "there is no such folder" in said) == (2, True)
    (tmp_path / "file").write_text("")
    code, said = run("report", published.path, "--out", tmp_path / "file" / "below")
    assert (code, "can't be written" in said) == (2, True)


def test_a_path_that_is_too_long_is_named_for_what_was_to_be_done_with_it(run, published):
    long = "x" * 300
    code, said = run("report", long)
    assert (code, "can't be read: File name too long" in " ".join(said.split())) == (2, True)
    code, said = run("report", published.path, "--out", long)
    assert (code, "can't be written: File name too long" in " ".join(said.split())) == (2, True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no file fails when it is read")
def test_a_record_that_cant_be_read_is_not_told_as_one_that_cant_be_written(run, published, tmp_path):
    copied = shutil.copytree(published.path, tmp_path / "shapes" / "1")
    (copied / "report" / "metrics.json").unlink()
    (copied / "report" / "metrics.json").symlink_to("/proc/self/mem")
    code, said = run("report", copied)
    assert (code, "report/ can't be read: Input/output error" in " ".join(said.split())) == (2, True)


@pytest.mark.parametrize("kind", ["feature-maps", "grad-cam", "saliency", "filters"])
def test_one_look_into_a_version_is_one_picture(run, kind, published, picture, tmp_path):
    code, said = run("show", kind, published.path.parent, *([] if kind == "filters" else [picture]))
    assert (code, said) == (0, f"- starting TensorFlow\nwrote {kind}.png\n")
    with Image.open(tmp_path / f"{kind}.png") as image:
        assert min(image.size) > 100
        assert image.convert("L").getextrema()[0] < 100


def test_a_keras_file_is_looked_into_without_a_version(run, picture, tmp_path):
    save_model(small_models.chain(), tmp_path / "model.keras")
    for label in ("0", "2"):
        code, _ = run("show", "grad-cam", "model.keras", picture, "--label", label, "--out", f"{label}.png")
        assert code == 0
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "2.png").read_bytes()


def test_pixels_go_into_a_file_as_it_was_trained(run, picture, tmp_path):
    """The same network, once with its scaling inside and once without: what is said makes the looks equal."""
    pixels = keras.Input((12, 12, 1), name="pixels")
    features = keras.layers.Conv2D(4, 3, activation="relu", bias_initializer="ones")(pixels)
    bare = keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(features)))
    raw = keras.Input((12, 12, 1), name="pixels")
    for folder in ("bare", "whole"):
        (tmp_path / folder).mkdir()
    save_model(bare, tmp_path / "bare" / "model.keras")
    save_model(keras.Model(raw, bare(keras.layers.Rescaling(1 / 255)(raw))), tmp_path / "whole" / "model.keras")
    (tmp_path / "labels.txt").write_text("0\n1\n2\n")
    looks = {
        "whole": ["whole/model.keras", picture],
        "unit": ["bare/model.keras", picture, "--preprocess", "unit", "--labels", "labels.txt"],
        "raw": ["bare/model.keras", picture, "--preprocess", "raw"],
    }
    for name, arguments in looks.items():
        code, said = run("show", "grad-cam", *arguments, "--out", f"{name}.png")
        assert code == 0, said
    whole, unit, raw = ((tmp_path / f"{name}.png").read_bytes() for name in looks)
    assert whole == unit != raw


def test_a_model_with_two_inputs_takes_two_pictures(run, picture, tmp_path):
    save_model(small_models.siamese(), tmp_path / "model.keras")
    assert run("show", "saliency", "model.keras", picture, picture)[0] == 0
    code, said = run("show", "saliency", "model.keras", picture)
    assert (code, "takes 2 pictures (left, right), but 1 were given" in said) == (2, True)


def test_every_mistake_is_one_sentence(run, published, picture, tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"no model")
    (tmp_path / "text.png").write_text("no picture")
    dense = [keras.Input((12, 12, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    save_model(keras.Sequential(dense), tmp_path / "dense.keras")
    save_model(keras.Sequential([keras.Input((7,)), keras.layers.Dense(2)]), tmp_path / "table.keras")
    save_model(small_models.chain(), tmp_path / "own.keras")
    save_model(small_models.shared_layers(side=12), tmp_path / "two.keras")
    save_model(small_models.siamese(), tmp_path / "ints.keras")
    two = tmp_path / "two.txt"
    two.write_text("no\nyes\n")
    version = published.path
    mistakes = {
        ("grad-cam", version, tmp_path / "text.png"): "text.png",
        ("grad-cam", version, tmp_path / "none.png"): "none.png can't be read: No such file",
        ("grad-cam", version, picture, "--label", "dog"): "there is no label 'dog'; choose from rows, columns, checks",
        ("grad-cam", version, picture, "--head", "tail"): "there is no head 'tail'; choose from class",
        ("grad-cam", version): "takes 1 picture (image), but 0 were given",
        ("grad-cam", tmp_path / "broken.keras", picture): "Keras can't read it",
        ("grad-cam", tmp_path / "dense.keras", picture, "--preprocess", "raw"): "there is no grad-cam to show",
        ("filters", tmp_path / "dense.keras"): "there is no filters to show",
        ("saliency", tmp_path / "table.keras", picture): "publish the model",
        ("saliency", tmp_path / "nowhere", picture): "there is no such folder",
        ("saliency", tmp_path / "dense.keras", picture): "does not say how pixels were scaled in its training",
        ("saliency", tmp_path / "two.keras", picture, picture): "training: give --preprocess raw (0..255), unit",
        ("saliency", tmp_path / "dense.keras", picture, "--preprocess", "torch"): "--preprocess torch is not known",
        (
            "saliency",
            tmp_path / "own.keras",
            picture,
            "--preprocess",
            "unit",
        ): "unit would scale them twice",
        (
            "saliency",
            tmp_path / "ints.keras",
            picture,
            picture,
            "--preprocess",
            "unit",
        ): "takes whole numbers",
        ("grad-cam", tmp_path / "own.keras", picture, "--label", "dog"): "choose from 0, 1, 2, or give --labels FILE",
        (
            "grad-cam",
            tmp_path / "own.keras",
            picture,
            "--labels",
            two,
        ): "two.txt has 2 labels, but {}/own.keras",
        ("grad-cam", version, picture, "--labels", two): "which says these things itself; leave out --preprocess and",
        ("grad-cam", version, picture, "--preprocess", "unit"): "leave out --preprocess and --labels",
        ("saliency", version, picture, "--out", tmp_path / "no" / "x.png"): "can't be written",
    }
    for arguments, sentence in mistakes.items():
        code, said = run("show", *arguments)
        assert (code, sentence.format(tmp_path) in " ".join(said.split())) == (2, True), said
        *_, mistake = said.splitlines()
        assert mistake.startswith("convoy show: ")
        assert said.removeprefix("- starting TensorFlow\n") == f"{mistake}\n"
