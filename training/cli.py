"""`convoy train`: from a dataset's name to a published version.

Exit code 2 for a mistake, 1 for a run that can't be published, each with one sentence. A run that is stopped, by Ctrl-C
or by SIGTERM, leaves nothing behind. Options come from the command line or from the environment.
"""

import dataclasses
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bundle.errors import BundleError
from bundle.store import Bundle
from training.config import PRESETS, preset
from training.datasets import load
from training.errors import ExportUnfaithful, TrainingDiverged, TrainingError
from training.startup import choose_tensorflow, start_tensorflow


def train(
    dataset: Annotated[str, typer.Argument(help=f"What to train on: {', '.join(PRESETS)}.")],
    *,
    repository: Annotated[Path, typer.Option(help="Where the version is published.")] = Path("models"),
    name: Annotated[str | None, typer.Option(help="The model's name; else the dataset's.")] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="CONVOY_DATA", help="Folder with the dataset's files; else they are fetched.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Times through the training pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The schedule's peak.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same weights on the same machine.")] = None,
    explain: Annotated[
        bool | None, typer.Option("--explain", help="Publish class-activation maps, for Classify with explain.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Train on the first pictures only, to try things out.")] = None,
    int8: Annotated[
        bool | None, typer.Option("--int8/--no-int8", help="Add an int8 variant if it is as good; on by default.")
    ] = None,
    calibrate: Annotated[
        bool | None, typer.Option("--calibrate/--no-calibrate", help="Fit a temperature; on by default.")
    ] = None,
    abstain_precision: Annotated[
        float | None, typer.Option(help="Share of answers that shall be right, such as 0.99; others are unsure.")
    ] = None,
) -> None:
    """Train a model, prove its export and publish it."""
    changes = {
        "name": name,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "limit": limit,
        "explain": explain,
        "int8": int8,
        "calibrate": calibrate,
        "abstain_precision": abstain_precision,
    }
    began = time.monotonic()
    try:
        with cleaned_up_on_sigterm():
            bundle = _run(
                dataset, {key: value for key, value in changes.items() if value is not None}, data, repository
            )
    except (TrainingError, BundleError) as error:
        typer.echo(f"convoy train: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, TrainingDiverged | ExportUnfaithful) else 2) from error
    accuracy = bundle.manifest.metrics["test_accuracy"]
    typer.echo(f"published {bundle.path}: test accuracy {accuracy:.4f}, {time.monotonic() - began:.0f} s")


def _run(dataset: str, changes: dict[str, Any], data: Path | None, repository: Path) -> Bundle:
    """The heavy libraries are imported last, so that a mistake in the configuration is said at once."""
    config = dataclasses.replace(preset(dataset), **changes)
    choose_tensorflow()
    pictures = load(config.dataset, data, say=_say)
    _say("starting TensorFlow")
    start_tensorflow()

    from training.publish import train_and_publish

    return train_and_publish(config, pictures, repository, _say)


@contextmanager
def cleaned_up_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM unwind the stack, as Ctrl-C does, so that staged files and processes are removed."""
    previous = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _say(sentence: str) -> None:
    typer.echo(f"- {sentence}")
