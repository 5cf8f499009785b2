"""The command in this process, and a model of each format that it has published."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import proving
import pytest
import typer
from typer.testing import CliRunner

for place in ("report", "visualize"):  # the pages that tests read
    sys.path.insert(0, str(Path(__file__).parent.parent / place))

OPTIONS = {
    "keras": (),
    "h5": ("--preprocess", "imagenet-caffe", "--activation", "softmax"),
    "exported": (),
    "module": ("--preprocess", "symmetric", "--kernel", "bicubic"),
    "onnx": ("--preprocess", "imagenet-torch", "--resize", "crop"),
}


def command(*arguments):
    """`convoy publish` without the seconds that TensorFlow's start takes."""
    from training.cli_publish import publish

    app = typer.Typer()
    app.command()(publish)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def publish():
    return command


@pytest.fixture(scope="session")
def labels(tmp_path_factory):
    file = tmp_path_factory.mktemp("labels") / "labels.txt"
    file.write_text("a\nb\nc\n")
    return file


@dataclass(frozen=True)
class Foreign:
    """A model, the repository that it alone was published to, and what the command said."""

    name: str
    source: Path
    repository: Path
    said: str


def saved(name: str, folder: Path) -> Path:
    """A model of that format."""
    import keras_models
    import onnx_models

    make: dict[str, Callable[[], Path]] = {
        "keras": lambda: keras_models.save(keras_models.sequential(), folder / "m.keras"),
        "h5": lambda: keras_models.save(keras_models.functional(), folder / "m.h5"),
        "exported": lambda: keras_models.export(keras_models.sequential(), folder / "exported"),
        "module": lambda: keras_models.save_grey(folder / "module"),
        "onnx": lambda: onnx_models.save(folder / "m.onnx", ending="Softmax"),
    }
    return make[name]()


@pytest.fixture(scope="session")
def foreign(tmp_path_factory, publish, labels, brief):
    """Gives what was published of a format, which is done when it is first asked for."""

    @cache
    def published(name):
        folder = tmp_path_factory.mktemp(name)
        source, repository = saved(name, folder), folder / "models"
        usual = ["--name", name, "--labels", labels, "--repository", repository]
        if name == "h5":
            return Foreign(name, source, repository, proving.in_its_process("publish", source, *usual, *OPTIONS[name]))
        with nullcontext() if name == "onnx" else proving.proved_here():
            finished = publish(source, *usual, *OPTIONS[name])
        assert finished.exit_code == 0, finished.stderr
        return Foreign(name, source, repository, finished.stdout)

    return published
