"""`convoy train` as a user runs it, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bundle import store
from training.cli import train
from training.datasets import user_cache
from training.errors import DatasetUnavailable

CONVOY = Path(sys.executable).with_name("convoy")


def convoy_train(*arguments, **environment):
    return subprocess.run(
        [CONVOY, "train", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture
def data(fashion_mnist):
    """Where the real data is by now."""
    folders = (Path("/usr/share/datasets/fashion-mnist"), user_cache() / "fashion_mnist")
    return str(next(folder for folder in folders if folder.is_dir()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mnist"], "there is no dataset 'mnist'; choose from fashion_mnist"),
        ([], "nothing to train on: name a dataset"),
        (["fashion_mnist", "--epochs", "0"], "epochs is 0, but it must be at least 1"),
        (["fashion_mnist", "--preset", "best"], "there is no preset 'best' for fashion_mnist; choose from quick"),
        (["--data", "/nowhere", "--preset", "long"], "there is no preset 'long' for pictures in files; choose from qu"),
        (["--data", "/nowhere"], "/nowhere can't be read as pictures with labels: there is no such folder"),
        (["--resume", "/nowhere"], "/nowhere holds no run that could go on"),
        (
            ["fashion_mnist", "--abstain-precision", "99"],
            "abstain_precision is 99.0, but it must be above 0 and at most 1",
        ),
        (["fashion_mnist", "--data", "/nowhere"], "Fashion-MNIST was not found; tried /nowhere (no such folder)"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, arguments, sentence):
    finished = in_process(*arguments, "--repository", str(tmp_path))
    assert finished.exit_code == 2
    assert finished.stderr.startswith(f"convoy train: {sentence}")
    assert finished.stderr.count("\n") == 1
    assert (finished.stdout, list(tmp_path.iterdir())) == ("", [])


def test_the_environment_names_the_folder_too(tmp_path):
    finished = convoy_train("fashion_mnist", "--repository", str(tmp_path), CONVOY_DATA="/nowhere")
    assert "tried /nowhere (no such folder)" in finished.stderr
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (2, "", 1)


def test_a_repository_that_is_a_file_is_said_before_training(tmp_path, data):
    (tmp_path / "file").write_text("")
    finished = in_process("fashion_mnist", "--data", data, "--repository", str(tmp_path / "file"))
    assert finished.exit_code == 2
    assert re.fullmatch(r"convoy train: model 'fashion_mnist' can't be published to .*\n", finished.stderr)
    assert "Epoch" not in finished.stdout


def test_a_run_that_diverges_is_exit_code_1(tmp_path, data):
    arguments = ["--data", data, "--repository", str(tmp_path), "--limit", "2000", "--learning-rate", "1e30"]
    finished = in_process("fashion_mnist", "--preset", "quick", *arguments)
    assert finished.exit_code == 1
    assert re.fullmatch(r"convoy train: the loss became .*\n", finished.stderr)
    assert list(tmp_path.iterdir()) == []


def test_keras_has_tensorflow_before_the_data_may_import_it(tmp_path, monkeypatch):
    def load(*_args, **_kwargs):
        raise DatasetUnavailable(f"the backend is {os.environ['KERAS_BACKEND']}")

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("training.cli.load", load)
    finished = in_process("fashion_mnist", "--repository", str(tmp_path))
    assert finished.stderr == "convoy train: the backend is tensorflow\n"


def in_process(*arguments):
    """Without the seconds that TensorFlow's start takes."""
    command = typer.Typer()
    command.command()(train)
    return CliRunner().invoke(command, arguments)


def test_real_data_becomes_a_version_with_the_accuracy_that_is_printed(tmp_path, data):
    arguments = ["--preset", "quick", "--name", "clothes", "--epochs", "2", "--limit", "4000", "--seed", "7"]
    arguments += ["--no-int8", "--no-calibrate", "--abstain-precision", "0.95"]
    finished = convoy_train(
        "fashion_mnist", "--data", data, "--repository", str(tmp_path), *arguments, KERAS_BACKEND="jax"
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    bundle = store.open_bundle(store.resolve(tmp_path))
    accuracy = bundle.manifest.metrics["test_accuracy"]
    *_, published, report, serve, classify = finished.stdout.splitlines()
    assert published.startswith(f"published {tmp_path}/clothes/1: test accuracy {accuracy:.4f}, ")
    assert report == f"report: {tmp_path}/clothes/1/report/index.html"
    assert serve == f"next: convoy serve --repository {tmp_path}"
    picture = bundle.path / bundle.manifest.golden.images["image"][0]
    assert classify.strip() == f"convoy classify {picture} --server localhost:8500 --model clothes"
    assert "- fashion_mnist: 70,000 pictures of 10 classes: " in finished.stdout
    assert "- recipe: sequential, 2 epochs of 31 steps of 128 pictures" in finished.stdout
    assert accuracy > 0.6
    assert bundle.manifest.provenance.seed == 7
    [head] = bundle.manifest.heads
    assert head.temperature is None
    assert head.abstain_below > 0.1
    assert f"- head 'class' abstains below a score of {head.abstain_below:.3f}: 95." in finished.stdout
    assert bundle.manifest.metrics["test_answered_precision"] == pytest.approx(0.95, abs=0.05)
    page = (bundle.path / "report" / "index.html").read_text(encoding="utf-8")
    assert f"abstains below a score of {head.abstain_below:.3f}: " in page.partition('id="architecture"')[0]
    assert {variant.precision for variant in bundle.manifest.variants} == {"fp32"}


def test_a_run_that_is_stopped_leaves_nothing_and_says_how_it_goes_on(tmp_path, data):
    run = tmp_path / "a run"
    nothing = "stopped; nothing was kept, as only a run with --run FOLDER can go on"
    stops = {
        signal.SIGINT: (start_training(data, tmp_path / "0"), 130, nothing),
        signal.SIGTERM: (
            start_training(data, tmp_path / "1", "--run", str(run)),
            143,
            rf"stopped with \d+ whole epochs? kept; go on with convoy train --resume '{run}'",
        ),
    }
    for number, (process, *_) in stops.items():
        assert any(line.startswith("Epoch 1") for line in process.stdout)
        process.send_signal(number)
    for process, code, sentence in stops.values():
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code
        assert re.fullmatch(f"convoy train: {sentence}\n", errors)
    assert list(tmp_path.glob("[01]/*")) == []


def start_training(data, repository, *extra):
    # Ctrl-C is ignored where the tests themselves were started in the background; the child must not inherit that.
    command = "import signal, convoy; signal.signal(signal.SIGINT, signal.default_int_handler); convoy.main()"
    arguments = ["train", "fashion_mnist", "--preset", "quick", "--data", data, "--repository", str(repository)]
    arguments += ["--limit", "2000", "--epochs", "1000", *extra]
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
