"""`convoy publish` as a user calls it: mistakes, questions, --dry-run, pictures of one's own, and a full disk."""

import os
import subprocess
import sys

import keras_models
import numpy as np
import onnx_models
import pages
import pytest
from PIL import Image

from bundle import store
from bundle.preprocessing import decode

LABELS = ("a", "b", "c")

pytestmark = pytest.mark.usefixtures("brief", "proved_here")


@pytest.fixture
def model(tmp_path):
    return onnx_models.save(tmp_path / "m.onnx", ending="Softmax")


@pytest.fixture
def usual(tmp_path, labels):
    return ["--name", "m", "--labels", labels, "--repository", tmp_path / "models", "--preprocess", "unit"]


def noise(seed, size=(14, 9)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def folder_of(place, count, suffix=".png"):
    place.mkdir(parents=True)
    for number in range(count):
        noise([number, len(place.name)]).save(place / f"{number}{suffix}")
    return place


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["--labels", "nowhere.txt"], "--labels nowhere.txt can't be read: No such file or directory; check the path"),
        (["--preprocess", "torch"], "--preprocess torch is not known; choose raw (0..255)"),
        (["--size", "8"], "--size 8 is not a size; give HEIGHTxWIDTH"),
        (["--head", "A"], "--head A is not possible"),
        (["--golden", "nowhere"], "--golden nowhere: there is no such folder"),
        (["--size", "9x9"], "{model}: it takes pictures of 8x10, not 9x9; leave out --size or correct it"),
        (["--activation", "sigmoid"], "{model}: output 'output' ends with Softmax, which contradicts sigmoid"),
        (["--custom", "module:Name"], "--custom is for Keras files"),
        (["--name", "a/b"], "model name 'a/b' is not possible"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(publish, model, usual, tmp_path, *, changes, sentence):
    finished = publish(model, *usual, *changes)
    assert finished.exit_code == 2
    assert finished.stderr.startswith(f"convoy publish: {sentence.format(model=model)}")
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_a_path_that_is_not_there_is_said_before_anything(publish, usual, tmp_path):
    finished = publish(tmp_path / "none.onnx", *usual)
    assert (finished.exit_code, finished.stdout) == (2, "")
    assert "none.onnx: there is no such file or folder; check the path" in finished.stderr


@pytest.mark.parametrize("build", [keras_models.sequential, keras_models.functional])
def test_a_wrong_number_of_labels_is_said_before_tensorflow_starts(publish, usual, tmp_path, monkeypatch, build):
    class Started(Exception):
        pass

    def start():
        raise Started

    monkeypatch.setattr("training.cli_publish.start_tensorflow", start)
    file, two = keras_models.save(build(), tmp_path / "m.keras"), tmp_path / "two.txt"
    two.write_text("a\nb\n")
    finished = publish(file, *usual, "--labels", two)
    assert finished.exit_code == 2
    assert finished.stderr.startswith(f"convoy publish: {two} has 2 labels, but the last layer of {file} has 3 units")
    goes_on = publish(file, *usual)  # with three labels
    assert isinstance(goes_on.exception, Started)
    assert goes_on.stdout == "- starting TensorFlow\n"


def test_a_repository_that_cant_be_written_is_said(publish, model, usual, tmp_path):
    (tmp_path / "models").write_text("")
    finished = publish(model, *usual)
    assert (finished.exit_code, finished.stdout) == (2, "")  # before the model is read
    assert "convoy publish: model 'm' can't be published to" in finished.stderr


def test_the_last_lines_say_what_comes_next(publish, model, usual, tmp_path):
    pictures = folder_of(tmp_path / "pictures", 2)
    finished = publish(model, *usual, "--golden", pictures)
    repository = tmp_path / "models"
    assert finished.stdout.splitlines()[-4:] == [
        f"published {repository / 'm' / '1'}",
        f"report: {repository / 'm' / '1' / 'report' / 'index.html'}",
        f"next: convoy serve --repository {repository}",
        f"      convoy classify {pictures / '0.png'} --server localhost:8500 --model m",
    ]


def test_a_question_lists_the_choices(publish, tmp_path, labels):
    model = onnx_models.save(tmp_path / "m.onnx")
    finished = publish(model, "--name", "m", "--labels", labels)
    assert finished.exit_code == 2
    assert finished.stderr.startswith(f"convoy publish: {model} does not say how pixels were scaled")
    assert all(
        choice in finished.stderr for choice in ("raw", "unit", "imagenet-torch", "--activation softmax", "none")
    )


def test_dry_run_says_what_would_be_done_and_writes_nothing(publish, model, usual, tmp_path):
    finished = publish(model, *usual, "--dry-run", "--crop-fraction", "0.875")
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == [
        f"ONNX model {model}",
        "  takes   float32 NCHW, served as uint8 8x10 RGB",
        "  pictures are decoded by Convoy, resize stretch, bilinear, the central 0.875",
        "  --preprocess unit: (x - 0) / 255",
        "  output 'output' ends with Softmax, so it is served as it is",
        "  head 'class': 3 classes, softmax",
        "nothing is published (--dry-run)",
    ]
    assert not (tmp_path / "models").exists()


def test_over_the_tolerance_nothing_is_published(publish, model, usual, tmp_path):
    finished = publish(model, *usual, "--tolerance", "0")
    assert finished.exit_code == 1
    assert "the exported model differs from the original by more than 0: onnx at batch 1" in finished.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_the_tolerance_is_what_the_server_will_ask_for(publish, model, usual, tmp_path):
    assert publish(model, *usual, "--tolerance", "0.02").exit_code == 0
    bundle = store.open_bundle(tmp_path / "models" / "m" / "1")
    assert bundle.manifest.variants[0].tolerance == 0.02


def test_pictures_of_ones_own_are_taken_as_they_are(publish, model, usual, tmp_path):
    pictures = folder_of(tmp_path / "pictures", 40)
    (pictures / "notes.txt").write_text("not a picture")
    assert publish(model, *usual, "--golden", pictures).exit_code == 0
    bundle = store.open_bundle(tmp_path / "models" / "m" / "1")
    golden = bundle.golden_images("image")
    assert len(golden) == 32
    assert set(golden) <= {file.read_bytes() for file in pictures.glob("*.png")}
    assert bundle.manifest.metrics == {}


def test_folders_named_by_label_measure_the_accuracy(publish, model, usual, tmp_path):
    """What it must be is counted here, with the file's own answers."""
    pictures = tmp_path / "pictures"
    for number, name in enumerate(LABELS):
        folder_of(pictures / name, 5 + number)
    finished = publish(model, *usual, "--golden", pictures)
    assert finished.exit_code == 0, finished.stderr
    bundle = store.open_bundle(tmp_path / "models" / "m" / "1")
    [spec] = bundle.manifest.preprocessing
    files = sorted(pictures.rglob("*.png"))
    pixels = np.stack([decode(file.read_bytes(), spec) for file in files])
    best = onnx_models.run(model, np.moveaxis(pixels.astype(np.float32) / 255, -1, 1)).argmax(axis=1)
    accuracy = np.mean([LABELS[index] == file.parent.name for index, file in zip(best, files, strict=True)])
    assert bundle.manifest.metrics == {"golden_accuracy": accuracy}
    assert bundle.manifest.variants[0].accuracy == accuracy
    assert (
        f"  accuracy {accuracy:.4f} on 18 labelled golden pictures, from encoded bytes" in finished.stdout.splitlines()
    )
    html = (bundle.path / "report" / "index.html").read_text(encoding="utf-8")
    page = pages.Page(html)
    assert f"{accuracy:.2%} of 18 labelled golden pictures are right" in page.texts["classes"]
    assert f"<dt>accuracy on labelled golden pictures</dt><dd>{accuracy:.2%}</dd>" in html
    assert "test examples" not in html
    assert page.texts["mistakes"].count("truth: ") == 18 - round(18 * accuracy)
    assert {"confidence", "golden"} <= page.texts.keys()


def test_folders_that_are_half_labels_are_refused(publish, model, usual, tmp_path):
    for name in ("a", "b", "rest"):
        folder_of(tmp_path / "pictures" / name, 1)
    finished = publish(model, *usual, "--golden", tmp_path / "pictures")
    assert finished.exit_code == 2
    assert "'rest' is not one of the labels, though 'a' is" in finished.stderr


def test_a_folder_without_pictures_is_refused(publish, model, usual, tmp_path):
    (tmp_path / "pictures").mkdir()
    finished = publish(model, *usual, "--golden", tmp_path / "pictures")
    assert "there are no pictures (.bmp, .gif, .jpeg, .jpg, .png, .webp) in it; put them into it" in finished.stderr
    assert "as pictures/a/1.jpg" in finished.stderr


def test_a_picture_that_cant_be_read_is_passed_over_by_name(publish, model, usual, tmp_path):
    for name in LABELS:
        folder_of(tmp_path / "pictures" / name, 3)
    bad = tmp_path / "pictures" / "b" / "1.png"
    bad.write_bytes(bad.read_bytes()[:200])
    finished = publish(model, *usual, "--golden", tmp_path / "pictures")
    assert finished.exit_code == 0, finished.stderr
    assert finished.stdout.startswith(f"- skipped {bad}: ")
    assert " on 8 labelled" in finished.stdout
    bundle = store.open_bundle(tmp_path / "models" / "m" / "1")
    assert len(bundle.golden_images("image")) == 8


def test_without_one_picture_that_can_be_read_nothing_is_begun(publish, model, usual, tmp_path):
    pictures = folder_of(tmp_path / "pictures", 2)
    for file in pictures.iterdir():
        file.write_bytes(b"no picture")
    finished = publish(model, *usual, "--golden", pictures)
    assert (finished.exit_code, finished.stdout) == (2, "")
    assert "convoy publish: --golden: not one of 2 pictures can be used, as " in finished.stderr
    assert not (tmp_path / "models").exists()


def test_a_full_disk_leaves_nothing(model, usual, tmp_path):
    """In a process whose files may not grow, which fails a write as a full disk does."""
    code = (
        "import resource, signal, convoy\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))\n"
        "convoy.main()"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, "publish", str(model), *map(str, usual)],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert finished.returncode == 2, finished.stderr
    assert "convoy publish: model 'm' can't be published to" in finished.stderr
    assert "File too large; nothing of it is visible" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list((tmp_path / "models").iterdir()) == []
