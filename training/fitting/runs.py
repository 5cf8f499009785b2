"""The run folder: from what is in it a run goes on after a kill at any moment and ends with the same weights.

    run.json           the configuration and the repository; the first to be written
    checkpoint.npz     every variable of model and optimizer, and how far the run has come; replaced as a whole
    best-EPOCH.npz     the weights of the best epoch so far; the one that the checkpoint names counts
    history.csv        one row an epoch, for people
    published          the version that the run became

A file lock, which a killed process lets go of, keeps a second process out. Made by `training.cli`, used by
`training.train`.
"""

import csv
import dataclasses
import fcntl
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import presets
from training.atomic import replacing, write_atomically
from training.config import TrainingConfig
from training.errors import ConfigInvalid, RunUnusable
from training.fitting.cluster import share

Arrays = Sequence[NDArray[np.generic]]

CHECKPOINT_SECONDS = 60.0  # between two checkpoints within an epoch, unless told

_RUN, _CHECKPOINT, _HISTORY, _PUBLISHED = "run.json", "checkpoint.npz", "history.csv", "published"
_POSITION = "position"


@dataclass(slots=True)
class Position:
    """How far a run has come: whole epochs, and the steps and sums of the one that it is in.

    `history` holds one value a whole epoch; `best_epoch` counts from 0.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    right: dict[str, int] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = -1
    seconds: float = 0.0
    stopped: bool = False

    def going_on(self, epochs: int, steps: int) -> str:
        """In words for people, who count from 1: what is done of so many epochs of so many steps, and what follows."""
        done = {0: "", 1: "epoch 1 is done, "}.get(self.epoch, f"epochs 1-{self.epoch:,} are done, ")
        inside = f", {self.step:,} of whose {steps:,} steps are done" if self.step else ""
        return f"{done}going on with epoch {self.epoch + 1:,} of {epochs:,}{inside}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder that belongs to this process. `config` and `repository` are what the run was begun with."""

    folder: Path
    config: TrainingConfig
    repository: Path

    def begin(self) -> None:
        """Writes down what the run is begun with, once everything is there that it needs. Raises RunUnusable."""
        about = {"config": dataclasses.asdict(self.config), "repository": str(self.repository.absolute())}
        with _writing(self.folder):
            write_atomically(self.folder / _RUN, json.dumps(about, indent=2).encode() + b"\n")

    @property
    def saved(self) -> bool:
        """Whether there is a checkpoint."""
        return (self.folder / _CHECKPOINT).exists()

    def load(self, data_digest: str) -> tuple[Position, Arrays] | None:
        """Where the run stands, with all variables' values; None before its first checkpoint.

        Raises RunUnusable for a checkpoint that can't be read, or that was trained on other data.
        """
        path = self.folder / _CHECKPOINT
        if not path.exists():
            return None
        arrays, position = _read(path)
        if position.pop("data_digest") != data_digest:
            raise RunUnusable(f"the data has changed since the run in {self.folder} began; begin another by --run")
        return Position(**position), arrays

    def save(self, position: Position, arrays: Arrays, data_digest: str) -> None:
        """Replaces the checkpoint. Raises RunUnusable where the folder can't be written."""
        about = dataclasses.asdict(position) | {"data_digest": data_digest}
        with _writing(self.folder):
            _write(self.folder / _CHECKPOINT, arrays, about)
            write_atomically(self.folder / _HISTORY, _table(position.history))
        for path in self.folder.glob("best-*.npz"):
            if path != self._best(position.best_epoch):
                path.unlink(missing_ok=True)

    def save_best(self, epoch: int, weights: Arrays) -> None:
        """Keeps an epoch's weights. They count once a checkpoint names the epoch."""
        with _writing(self.folder):
            _write(self._best(epoch), weights, {})

    def load_best(self, epoch: int) -> Arrays:
        """The weights of the epoch that the checkpoint names. Raises RunUnusable."""
        return _read(self._best(epoch))[0]

    def published(self) -> Path | None:
        """The version that this run has become, where it still is there."""
        path = self.folder / _PUBLISHED
        version = Path(path.read_text().strip()) if path.exists() else None
        return version if version is not None and version.is_dir() else None

    def mark_published(self, version: Path) -> None:
        """Remembers that there is nothing left to do."""
        with _writing(self.folder):
            write_atomically(self.folder / _PUBLISHED, f"{version.resolve()}\n".encode())

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.npz"


@contextmanager
def open_run(folder: Path, config: TrainingConfig | None, repository: Path | None) -> Iterator[Run]:
    """The run in `folder`, begun now or before, locked until the block ends by the process that leads.

    Without `config` it must have been begun; with one it must have been begun with the same. `repository` is where it
    publishes, by default where it was to at its beginning. Raises ConfigInvalid, RunUnusable.
    """
    begun = _begun(folder)
    if config is None and begun is None:
        raise ConfigInvalid(f"{folder} holds no run that could go on; begin one by --run {folder}")
    if config is not None and begun is not None:
        _refuse_another(folder, begun[0], config)
    config = config or (begun[0] if begun else None)
    repository = repository or (begun[1] if begun else None) or Path("models")
    assert config is not None  # noqa: S101 - said above
    with _locked(folder) if share(config.distribute).leads else nullcontext():
        yield Run(folder, config, repository)


def epochs_done(folder: Path) -> int | None:
    """How many whole epochs the run in `folder` has behind it; None where none was begun there. Raises RunUnusable."""
    if _begun(folder) is None:
        return None
    path = folder / _CHECKPOINT
    return int(_read(path)[1]["epoch"]) if path.exists() else 0


def _begun(folder: Path) -> tuple[TrainingConfig, Path] | None:
    path = folder / _RUN
    try:
        about = json.loads(path.read_bytes())
        return TrainingConfig(**about["config"]), Path(about["repository"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunUnusable(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise RunUnusable(f"{path} is not of this release of Convoy ({error}); begin another run by --run") from error


def _refuse_another(folder: Path, begun: TrainingConfig, config: TrainingConfig) -> None:
    before, now = dataclasses.asdict(begun), dataclasses.asdict(config)
    for name in before:
        if before[name] != now[name]:
            origin = " (the recipe's own)" if presets.is_own(begun, name) else ""
            raise ConfigInvalid(
                f"the run in {folder} was begun with {name} {before[name]}{origin}, not {now[name]}; "
                "begin another in a new folder, or go on with what it was begun with by --resume"
            )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunUnusable(f"another process is at the run in {folder}; wait for it, or end it") from error
        yield


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunUnusable(f"the run folder {folder} can't be written: {error.strerror or error}") from error


def _write(path: Path, arrays: Arrays, about: dict[str, Any]) -> None:
    named = {str(number): array for number, array in enumerate(arrays)}
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with replacing(path) as file:
        np.savez(file, **named, **{_POSITION: text})  # type: ignore[arg-type]  # its stub wants a bool


def _read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive[_POSITION].tobytes())
            return [archive[str(number)] for number in range(len(archive.files) - 1)], about
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RunUnusable(f"{path} can't be read ({error}); begin another run by --run") from error


def _table(history: dict[str, list[float]]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("epoch", *history))
    rows.writerows((number, *values) for number, values in enumerate(zip(*history.values(), strict=True), 1))
    return text.getvalue().encode()
