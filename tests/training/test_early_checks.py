"""Mistakes that are told before anything heavy is loaded and before a picture is read."""

import json
import subprocess
import sys

import photos
import pytest

from training.architectures import backbones, transfer

# Runs every command line in one process and tells what it said; TensorFlow or a picture would be an error.
PROGRAM = """
import json, sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
import typer
from typer.testing import CliRunner
from training.cli import train
import training.datasets.filedigests
training.datasets.filedigests.of_files = lambda *_: sys.exit("a picture was read")
command = typer.Typer()
command.command()(train)
for arguments in json.load(sys.stdin):
    done = CliRunner().invoke(command, arguments)
    print(json.dumps([done.exit_code, done.stdout, done.stderr]))
"""

# What is said by the command line; DATA, FILE and NEW stand for paths.
MISTAKES = {
    "--data DATA --architecture resnet": "there is no architecture 'resnet'; choose from sequential, accurate",
    "--data DATA --architecture wide --backbone VGG16": "architecture wide has no backbone; leave it out, or choose",
    "--data DATA --architecture transfer --backbone VGG15": "there is no backbone 'VGG15'; choose from ConvNeXtBase",
    "--data DATA --architecture transfer --weights NEW/a.h5": "there is no file NEW/a.h5 of weights; give a file",
    "--data DATA --architecture transfer --weights none --fine-tune 3": "without weights all of the backbone",
    "--data DATA --architecture transfer --head-epochs 2": "head_epochs are those before fine_tune; leave them out",
    "--data DATA --architecture transfer --fine-tune 9 --epochs 2 --head-epochs 2": "head_epochs is 2 of 2 epochs",
    "--data DATA --architecture multi_output": "architecture multi_output also answers coarser classes, which only",
    "--data DATA --architecture siamese --explain": "--explain: architecture siamese does not end in one Dense layer",
    "--data DATA --distribute workers": "distribute is workers, which needs TF_CONFIG",
    "--data DATA --repository FILE": "model 'data' can't be published to FILE: Not a directory",
    "--data DATA --repository FILE/models": "model 'data' can't be published to FILE/models: FILE: Not a directory",
    "--data DATA --name ../x": "model name '../x' is not possible",
    "--data DATA --run FILE": "--run FILE can't be written: Not a directory; choose another folder",
    "--data DATA --run FILE/run": "--run FILE/run can't be written: Not a directory; choose another folder",
    "--data DATA --tensorboard FILE": "--tensorboard FILE can't be written: Not a directory; choose another folder",
    "--data DATA --cache FILE": "--cache FILE can't be written: Not a directory; choose another folder",
    "--data DATA --run DATA/run": "--run DATA/run lies among the pictures in DATA, where it would be taken for a class",
    "--data DATA --repository DATA": "--repository DATA lies among the pictures in DATA",
    "--data NEW": "NEW can't be read as pictures with labels: there is no such folder",
    "files": "training on files needs the folder or table they are in; give it by --data",
    "keras:imdb": "keras:imdb is not known; choose from keras:mnist, keras:cifar10",
    "keras:mnist --height 32": "--height is for pictures in files, but those of keras:mnist are arrays of one size",
    "fashion_mnist --bad-pictures fail": "--bad-pictures is for pictures in files, but those of fashion_mnist are arr",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    photos.make(folder / "data", each=1, bad=False)
    (folder / "file").write_text("")
    return folder


@pytest.fixture(scope="module")
def said(folder):
    """Exit code, output and errors of every mistake."""
    lines = [[*placed(line, folder).split(), *_elsewhere(line, folder)] for line in MISTAKES]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}{PROGRAM}"]
    done = subprocess.run(command, input=json.dumps(lines), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(MISTAKES, map(json.loads, done.stdout.splitlines()), strict=True))


def _elsewhere(line, folder):
    return [] if "--repository" in line else ["--repository", str(folder / "models")]


def placed(text, folder):
    for word in ("DATA", "FILE", "NEW"):
        text = text.replace(word, str(folder / word.lower()))
    return text


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_costs_no_library_and_no_picture(line, said, folder):
    code, output, errors = said[line]
    assert errors.startswith(f"convoy train: {placed(MISTAKES[line], folder)}")
    assert (code, output, errors.count("\n")) == (2, "", 1)


def test_mistakes_leave_no_trace(said, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["data", "file"]


def test_the_backbones_are_those_of_keras():
    assert set(backbones.NAMES) == set(transfer.backbones())
