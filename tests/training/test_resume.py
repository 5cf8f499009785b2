"""A run that is killed with -9 goes on from its checkpoint and ends with the weights of one that never was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shapes
from PIL import Image
from test_train_command import in_process

from bundle import store
from training.cli import file_options
from training.datasets import load
from training.fitting.runs import open_run
from training.train import Logging, train

CONVOY = Path(sys.executable).with_name("convoy")
EPOCHS = 12
SETTINGS = ["--preset", "quick", "--epochs", str(EPOCHS), "--height", "12", "--width", "12", "--batch-size", "8"]


@pytest.fixture
def folder(tmp_path):
    """Class folders of the shapes: enough for many steps, few enough for seconds."""
    some = shapes.split(300, seed=1)
    for number, (pixels, label) in enumerate(zip(some.images, some.labels, strict=True)):
        path = tmp_path / "data" / shapes.NAMES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(path)
    return tmp_path / "data"


def arguments(folder, tmp_path, run):
    return [
        *("--data", str(folder), "--run", str(tmp_path / run), "--repository", str(tmp_path / "models")),
        *("--cache", str(tmp_path / "cache"), "--checkpoint-seconds", "0", *SETTINGS),
    ]


def kill_when(command, reached):
    """Starts a training and ends it with SIGKILL at the first moment at which `reached` is true."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ) as process:
        while not reached() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        errors = process.communicate()[1]
        assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]


def epochs_done(run):
    path = run / "history.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else -1


@pytest.mark.timeout(240)  # two processes that start TensorFlow, one after the other
def test_a_killed_run_ends_with_the_same_weights(tmp_path, folder):
    folder_of_run = tmp_path / "killed"
    command = [CONVOY, "train", *arguments(folder, tmp_path, "killed")]
    kill_when(command, (folder_of_run / "checkpoint.npz").exists)  # within the first epoch
    kill_when(command, lambda: epochs_done(folder_of_run) >= 3)
    assert 0 < epochs_done(folder_of_run) < EPOCHS
    assert not (tmp_path / "models" / "data").exists()

    with open_run(folder_of_run, None, None) as run:
        config = run.config
        dataset = load("files", folder, options=file_options(config), cache=tmp_path / "cache")
        resumed = train(config, dataset, Logging(run=run))
        _, found = run.load(dataset.digest)
    with open_run(tmp_path / "whole", config, None) as run:
        whole = train(config, dataset, Logging(run=run))
        _, expected = run.load(dataset.digest)
    assert len(found) == len(expected) > 20
    assert all((one == other).all() for one, other in zip(found, expected, strict=True))
    assert resumed.history == whole.history
    kept = zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True)
    assert all((one == other).all() for one, other in kept)


def test_a_finished_run_is_not_published_twice(tmp_path, folder):
    first = in_process(*arguments(folder, tmp_path, "run"), "--epochs", "1")
    assert first.exit_code == 0, first.output
    version = store.open_bundle(store.resolve(tmp_path / "models")).path
    again = in_process("--resume", str(tmp_path / "run"))
    assert again.exit_code == 0
    assert again.stdout == f"the run in {tmp_path}/run is published as {version} already\n"


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--epochs", "3"], "leave out the dataset and all settings"),
        (["fashion_mnist"], "leave out the dataset and all settings"),
    ],
)
def test_resume_takes_no_settings(tmp_path, extra, sentence):
    finished = in_process("--resume", str(tmp_path), *extra)
    assert (finished.exit_code, sentence in finished.stderr) == (2, True)


def test_going_on_in_one_process_is_exact_too(tmp_path, dataset):
    """With everything that has a state: averages, dropout, mixing, half precision's loss scale."""
    config = shapes.config(epochs=4, average=0.9, dropout=0.3, mixup=0.2, precision="mixed_float16", limit=160)
    said = []
    whole = train(config, dataset, Logging(say=said.append))
    with open_run(tmp_path, config, None) as run:
        with pytest.raises(KeyboardInterrupt):
            train(config, dataset, Logging(run=Interrupting(run, saves=3), checkpoint_seconds=0))
        again = train(config, dataset, Logging(run=run, say=said.append))
        train(config, dataset, Logging(run=run, say=said.append))
    assert said == [
        f"the run in {tmp_path}: epochs 1-3 are done, going on with epoch 4 of 4",
        f"the run in {tmp_path} has done its 4 epochs; going on with what follows them",
    ]
    assert again.history == whole.history
    for one, other in zip(again.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.array_equal(one, other)


class Interrupting:
    """A run folder in which the process is stopped right after a checkpoint."""

    def __init__(self, run, saves):
        self.run = run
        self.left = saves

    def __getattr__(self, name):
        return getattr(self.run, name)

    def save(self, *arguments):
        self.run.save(*arguments)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
