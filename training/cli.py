"""`convoy train`: from a dataset's name, or from pictures in files, to a published version.

Exit code 2 for a mistake, 1 for a run that can't be published, each with one sentence. A run that is stopped, by Ctrl-C
or by SIGTERM, leaves nothing in the repository, and in its run folder all that it needs to go on.
"""

import dataclasses
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from bundle.errors import BundleError
from bundle.store import Bundle
from training import checks, configfile, presets, telling
from training.config import TrainingConfig
from training.datasets import DATASETS, FILES, Dataset, FileOptions, fashion_mnist, load, name_of_files, of_files
from training.errors import ConfigInvalid, ExportUnfaithful, TrainingDiverged, TrainingError
from training.fitting.cluster import share
from training.fitting.runs import CHECKPOINT_SECONDS, Run, epochs_done, open_run
from training.options import with_settings
from training.sizing import sized
from training.startup import choose_tensorflow, start_tensorflow

Say = Callable[[str], None]

_REPOSITORY = Path("models")  # unless told otherwise
_VARIANTS = (
    f"{' or '.join(presets.variants(fashion_mnist.NAME))} for {fashion_mnist.NAME}, "
    f"{' or '.join(presets.variants(FILES))} for other data"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """What does not change the result: the folders of a run."""

    repository: Path | None
    run: Path | None
    checkpoint_seconds: float
    tensorboard: Path | None
    cache: Path | None

    @property
    def others(self) -> dict[str, Path | None]:
        """What is written besides the repository, by flag."""
        return {"--run": self.run, "--tensorboard": self.tensorboard, "--cache": self.cache}


@with_settings
def train(
    dataset: Annotated[
        str | None, typer.Argument(help=f"What to train on: {', '.join(DATASETS)}; files where only --data is given.")
    ] = None,
    *,
    preset: Annotated[str | None, typer.Option(help=f"A variant of the recipe: {_VARIANTS}.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings, or Python file with a TrainingConfig `config`.")
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="Where the version is published.", show_default="models")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of checkpoints: the same command goes on where it was ended.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder, as it was begun.")] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Time between two checkpoints within an epoch.", min=0)
    ] = CHECKPOINT_SECONDS,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard's events.")] = None,
    cache: Annotated[
        Path | None, typer.Option(envvar="CONVOY_CACHE", help="Folder for fetched and decoded pictures.")
    ] = None,
    changes: dict[str, Any],
) -> None:
    """Train a model, prove its export and publish it."""
    where = _Where(
        repository=repository,
        run=resume or run,
        checkpoint_seconds=checkpoint_seconds,
        tensorboard=tensorboard,
        cache=cache,
    )
    began = time.monotonic()
    try:
        if resume is None:
            chosen = _config(dataset, preset, config, changes)
        else:
            _refuse_more(dataset, preset, config, run, changes)
            chosen = None
        with cleaned_up_on_sigterm():
            _run(chosen, where, began)
    except (TrainingError, BundleError) as error:
        typer.echo(f"convoy train: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, TrainingDiverged | ExportUnfaithful) else 2) from error
    except (KeyboardInterrupt, SystemExit) as stop:
        typer.echo(f"convoy train: {_stopped(where.run)}", err=True)
        raise typer.Exit(128 + (signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)) from None


def _stopped(run: Path | None) -> str:
    """What is left of a run that was stopped, and how it goes on."""
    if run is None:
        return "stopped; nothing was kept, as only a run with --run FOLDER can go on"
    done = epochs_done(run)
    if done is None:
        return "stopped before the first epoch; nothing was kept"
    epochs = f"{done:,} whole epoch{'' if done == 1 else 's'}"
    return f"stopped with {epochs} kept; go on with convoy train --resume {shlex.quote(str(run))}"


def _config(dataset: str | None, variant: str | None, file: Path | None, changes: dict[str, Any]) -> TrainingConfig:
    """The recipe, changed by the file, changed by the flags. Raises ConfigInvalid."""
    values = configfile.read(file) if file else {}
    if isinstance(values, TrainingConfig):
        _refuse_with_python(dataset, variant)
        return _from_anywhere(dataclasses.replace(values, **changes))
    said = values | changes
    dataset = dataset or values.get("dataset") or (FILES if said.get("data") else None)
    if dataset is None:
        raise ConfigInvalid(f"nothing to train on: name a dataset ({', '.join(DATASETS)}), or give files by --data")
    base = presets.preset(dataset, variant or values.get(configfile.PRESET))
    said = {name: value for name, value in said.items() if name not in {configfile.PRESET, "dataset"}}
    _refuse_file_settings(dataset, said)
    for exactly, least in {"epochs": "least_steps", "batch_size": "least_batch"}.items():
        if exactly in said:
            said.setdefault(least, 0)
    if "name" not in said and dataset != fashion_mnist.NAME:
        said["name"] = _model_name(dataset, said.get("data"))
    return _from_anywhere(dataclasses.replace(base, **said))


def _from_anywhere(config: TrainingConfig) -> TrainingConfig:
    """With absolute paths, because a run may go on from another folder; `weights` may be a word, too."""
    data = str(Path(config.data).absolute()) if config.data else None
    own_weights = config.weights is not None and Path(config.weights).is_file()
    weights = str(Path(config.weights or "").absolute()) if own_weights else config.weights
    return dataclasses.replace(config, data=data, weights=weights)


def _model_name(dataset: str, data: str | None) -> str:
    """What the data is called, in the characters that a model's name may have."""
    name = name_of_files(Path(data)) if dataset == FILES and data else dataset.partition(":")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-") or "model"


def _refuse_file_settings(dataset: str, said: dict[str, Any]) -> None:
    """A setting that has no effect would be believed to have one."""
    if of_files(dataset):
        return
    for knob in dataclasses.fields(FileOptions):
        if knob.name in said:
            raise ConfigInvalid(
                f"--{knob.name.replace('_', '-')} is for pictures in files, but those of {dataset} are arrays of one "
                "size, in splits of their own; leave it out"
            )


def _refuse_with_python(dataset: str | None, variant: str | None) -> None:
    if dataset or variant:
        raise ConfigInvalid("a Python --config says everything; leave out the dataset and --preset")


def _refuse_more(
    dataset: str | None, variant: str | None, file: Path | None, run: Path | None, changes: dict[str, Any]
) -> None:
    changes = {name: value for name, value in changes.items() if name != "data"}  # may come from the environment
    if dataset or variant or file or run or changes:
        raise ConfigInvalid("--resume goes on with what the run was begun with; leave out the dataset and all settings")


def _run(config: TrainingConfig | None, where: _Where, began: float) -> None:
    """The heavy libraries are imported last, so that a mistake in the configuration is said at once."""
    repository = where.repository or (None if where.run else _REPOSITORY)
    if config is not None:
        checks.check(config, repository, where.others)
    with open_run(where.run, config, where.repository) if where.run else nullcontext() as run:
        if run is not None:
            if (version := run.published()) is not None:
                typer.echo(f"the run in {run.folder} is published as {version} already")
                return
            config, repository = run.config, run.repository
            checks.check(config, repository, where.others)
        assert config is not None  # noqa: S101 - without a run folder there is no --resume
        assert repository is not None  # noqa: S101 - a run has one
        notes: list[str] = []
        say = telling.noting(_say, notes)
        pictures = _data_and_tensorflow(config, where.cache, say)
        config = _told(config, pictures, say)
        bundle = _train(config, pictures, repository, run, where, say=say, notes=notes)
        if bundle is not None:
            _tell_published(bundle, repository, pictures, time.monotonic() - began)


def _data_and_tensorflow(config: TrainingConfig, cache: Path | None, say: Say) -> Dataset:
    """Loads both, the quicker first."""
    choose_tensorflow()
    if config.dataset in {FILES, fashion_mnist.NAME}:  # others import TensorFlow themselves, with its chatter
        pictures = _load(config, cache, say)
        _start(config)
        return pictures
    _start(config)
    return _load(config, cache, say)


def _start(config: TrainingConfig) -> None:
    _say("starting TensorFlow")
    start_tensorflow(look_for_devices=config.distribute != "workers")


def _load(config: TrainingConfig, cache: Path | None, say: Say) -> Dataset:
    folder = Path(config.data) if config.data else None
    return load(config.dataset, folder, options=file_options(config), cache=cache, say=say)


def file_options(config: TrainingConfig) -> FileOptions:
    """How the configuration wants picture files to be read."""
    return FileOptions(**{knob.name: getattr(config, knob.name) for knob in dataclasses.fields(FileOptions)})


def _told(asked: TrainingConfig, pictures: Dataset, say: Say) -> TrainingConfig:
    """The configuration fitted to the number of pictures, after saying what was found and chosen."""
    count = len(pictures.limited(asked.limit).train)
    config = sized(asked, count)
    for sentence in (*telling.of_data(pictures, config), *telling.of_recipe(asked, config, count)):
        say(sentence)
    return config


def _train(
    config: TrainingConfig,
    pictures: Dataset,
    repository: Path,
    run: Run | None,
    where: _Where,
    *,
    say: Say,
    notes: Sequence[str],
) -> Bundle | None:
    """Trains and publishes; of several processes the first publishes, the others give None."""
    from training.publish import train_and_publish
    from training.train import Logging, train

    logging = Logging(run=run, checkpoint_seconds=where.checkpoint_seconds, tensorboard=where.tensorboard, say=say)
    if not (mine := share(config.distribute)).leads:
        train(config, pictures, logging)
        _say(f"worker {mine.number} is done; worker 0 publishes")
        return None
    if run is not None:
        run.begin()
    bundle = train_and_publish(config, pictures, repository, say, logging, notes=notes)
    if run is not None:
        run.mark_published(bundle.path)
    return bundle


def _tell_published(bundle: Bundle, repository: Path, pictures: Dataset, seconds: float) -> None:
    accuracy = bundle.manifest.metrics["test_accuracy"]
    typer.echo(f"published {bundle.path}: test accuracy {accuracy:.4f}, {seconds:.0f} s")
    for line in telling.what_next(bundle, repository, pictures.test.files or ()):
        typer.echo(line)


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
