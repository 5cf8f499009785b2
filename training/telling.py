"""The sentences by which a run tells a person what it took, what it chose, and what to do next.

Pure functions from values to lines of text, so that whoever reads the output alone understands the run. Called by
`training.cli` and `training.cli_publish`.
"""

import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from bundle.store import Bundle
from training.config import TrainingConfig
from training.datasets import Dataset, Split, of_files
from training.sizing import steps_of_epoch

_CLASSES = 10  # that are named one by one
_FEW = 100  # pictures of a split below which its accuracy is hardly known: 10 points either way
_DEVIATIONS = 1.96  # of a normal distribution on either side of what happens 95 times in 100
_NOTED = ("WARNING: ", "note: ", "skipped ", "head ", "no int8 variant ")
_PORT = 8500  # of `convoy serve`, unless told otherwise


def of_data(dataset: Dataset, config: TrainingConfig) -> Iterator[str]:
    """What was found and what was made of it, a sentence each; then what there is too little of."""
    splits = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
    total = sum(map(len, splits.values()))
    yield f"{dataset.name}: {total:,} pictures of {len(dataset.class_names):,} classes: {_counted(dataset)}"
    yield f"pictures are {_pixels(dataset, config)}"
    counts = ", ".join(f"{len(split):,} for {use}" for use, split in splits.items())
    yield f"splits: {counts}{_chosen_by(config)}"
    yield from _too_few(dataset, config)


def of_recipe(asked: TrainingConfig, config: TrainingConfig, pictures: int) -> Iterator[str]:
    """How it will be trained. `asked` is the configuration before it was fitted to the number of pictures."""
    steps = steps_of_epoch(config, pictures)
    epochs = f"{'up to ' if config.patience else ''}{_many(config.epochs, 'epoch')} of {_many(steps, 'step')}"
    yield (
        f"recipe: {config.architecture}, {epochs} of {_many(min(config.batch_size, pictures), 'picture')}, "
        f"learning rate {config.learning_rate:g}, seed {config.seed}"
    )
    if config != asked:
        before = asked.epochs * steps_of_epoch(asked, pictures)
        yield (
            f"note: {asked.epochs:,} epochs of {pictures:,} pictures in batches of {asked.batch_size:,} would be "
            f"{before:,} steps, too few to learn from, so it is {config.epochs:,} epochs in batches of "
            f"{config.batch_size:,}: {config.epochs * steps:,} steps (--epochs, --batch-size say it otherwise)"
        )


def noting(say: Callable[[str], None], notes: list[str]) -> Callable[[str], None]:
    """`say` that keeps in `notes` what a reader of the report should know, too: warnings, what was left out or chosen.

    Such sentences are known by how they begin.
    """

    def heard(sentence: str) -> None:
        say(sentence)
        if sentence.startswith(_NOTED):
            notes.append(sentence)

    return heard


def what_next(bundle: Bundle, repository: Path, pictures: Sequence[Path]) -> Iterator[str]:
    """Where the report lies, and the commands that serve the version and ask it about the first of some pictures.

    Where there are none, about its first golden ones, so that the command can be run as it stands.
    """
    yield f"report: {bundle.path / 'report' / 'index.html'}"
    yield f"next: convoy serve --repository {shlex.quote(str(repository))}"
    inputs = [spec.input for spec in bundle.manifest.preprocessing]
    golden = [str(bundle.path / bundle.manifest.golden.images[name][0]) for name in inputs]
    files = [str(pictures[number]) if number < len(pictures) else own for number, own in enumerate(golden)]
    given = [f"{name}={file}" for name, file in zip(inputs, files, strict=True)] if len(inputs) > 1 else files
    asked = " ".join("--input " * (len(inputs) > 1) + shlex.quote(one) for one in given)
    yield f"      convoy classify {asked} --server localhost:{_PORT} --model {bundle.name}"


def _counted(dataset: Dataset) -> str:
    labels = np.concatenate([split.labels for split in (dataset.train, dataset.validation, dataset.test)])
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    told = [f"{name} {count:,}" for name, count in zip(dataset.class_names, counts, strict=True)][:_CLASSES]
    more = len(dataset.class_names) - len(told)
    return ", ".join(told) + (f" and {more:,} more classes" if more else "")


def _pixels(dataset: Dataset, config: TrainingConfig) -> str:
    height, width, channels = dataset.image_shape
    size = f"{height}x{width} {'grey' if channels == 1 else 'in colour'}"
    if not of_files(config.dataset):
        return size
    shape = {"crop": "their longer side cropped", "pad": "their shorter side padded", "stretch": "stretched"}
    return (
        f"read as {size} (--height, --width, --channels), {shape[dataset.resize]} where their shape is another "
        f"(--resize), {dataset.kernel} (--kernel)"
    )


def _chosen_by(config: TrainingConfig) -> str:
    if not of_files(config.dataset):
        return ""
    return (
        "; where the data has no such folder or column, by a digest of each file "
        f"(--validation-share {config.validation_share:g}, --test-share {config.test_share:g})"
    )


def _too_few(dataset: Dataset, config: TrainingConfig) -> Iterator[str]:
    more = "add pictures" + (" or raise {}" if of_files(config.dataset) else "")
    if few := _few(dataset.validation):
        yield (
            f"WARNING: {few} for validation, too few to tell a good epoch from a lucky one: which epoch is kept and "
            f"how sure its answers are is nearly chance; {more.format('--validation-share')}"
        )
    if few := _few(dataset.test):
        points = 100 * _DEVIATIONS * math.sqrt(0.25 / len(dataset.test))
        yield (
            f"WARNING: {few} for the test: its accuracy may be off by {points:.0f} points either way, and what it "
            f"says of single classes means little; {more.format('--test-share')}"
        )


def _few(split: Split) -> str:
    return f"only {_many(len(split), 'picture')}" if len(split) < _FEW else ""


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
