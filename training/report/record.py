"""What a run leaves in `report/`: figures, every answer, chosen pictures, the Keras model. Nothing of it is drawn yet.

`metrics.json` and `predictions.csv` (one row an example, in the dataset's order, so that any other way of asking the
model can be compared answer by answer) are for everybody; `record.npz` and `model.keras` are what the page needs
besides. What belongs to one head is under its name; only the first head's files have plain names. Made by `collect`;
read by `make`, which takes whatever of it a version has.
"""

import csv
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np
from numpy.typing import NDArray

from bundle.errors import BundleInvalid
from training.evaluate import Evaluation
from training.visualize.cards import Pictures

FOLDER = "report"
MODEL = "model.keras"
_METRICS, _ARRAYS = "metrics.json", "record.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Examples that are shown: their rows within the evaluation, int64 [n], and their pictures."""

    rows: NDArray[np.int64]
    pictures: Pictures


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Examples laid flat: `points` float32 [n, axes], each axis's `shares` of the variance, `classes` int64 [n]."""

    points: NDArray[np.float32]
    shares: NDArray[np.float32]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What is known of a run; what is not known is empty. `evaluations` and `mistakes` are by head."""

    metrics: Mapping[str, Any] = field(default_factory=dict)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    examples: Chosen | None = None
    mistakes: Mapping[str, Chosen] = field(default_factory=dict)
    embedding: Embedding | None = None


def write_record(
    folder: Path, record: Record, labels: Mapping[str, tuple[str, ...]], model: keras.Model | None
) -> None:
    """Writes `report/` into the version's folder; `labels` by head, the main one first."""
    report = folder / FOLDER
    report.mkdir(exist_ok=True)
    for head, evaluation in record.evaluations.items():
        of_head = "" if head == next(iter(labels)) else f".{head}"
        _write_predictions(report / f"predictions{of_head}.csv", evaluation, labels[head])
    (report / _METRICS).write_text(_indented(record.metrics))
    np.savez_compressed(report / _ARRAYS, allow_pickle=False, **_arrays(record))
    if model is not None:
        save_model(model, report / MODEL)


def read_record(folder: Path) -> Record:
    """What the version in `folder` holds of a record; an empty one where it holds nothing.

    Raises BundleInvalid where what it holds is damaged or can't be read.
    """
    try:
        return _read(folder / FOLDER)
    except (ValueError, LookupError, TypeError, BadZipFile) as error:
        raise BundleInvalid(folder, f"{FOLDER}/ can't be read, as it is no run's record: {error}") from error
    except OSError as error:
        raise BundleInvalid(folder, f"{FOLDER}/ can't be read: {error.strerror or error}") from error


def _read(report: Path) -> Record:
    metrics = json.loads((report / _METRICS).read_text()) if (report / _METRICS).is_file() else {}
    if not (report / _ARRAYS).is_file():
        return Record(metrics)
    with (report / _ARRAYS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        tree: dict[str, dict[str, Any]] = {}
        for key in arrays.files:
            kind, _, name = key.partition("/")
            tree.setdefault(kind, {})[name] = arrays[key]
    return Record(
        metrics,
        {head: Evaluation(**fields) for head, fields in _by_first_part(tree.get("answers", {})).items()},
        _chosen(tree["examples"]) if "examples" in tree else None,
        {head: _chosen(fields) for head, fields in _by_first_part(tree.get("mistakes", {})).items()},
        Embedding(**tree["embedding"]) if "embedding" in tree else None,
    )


def _indented(metrics: Mapping[str, Any]) -> str:
    """As JSON with each row of numbers on one line: a thousand classes have a million cells, twice."""
    text = json.dumps(metrics, indent=2)
    return re.sub(r"\[\n[^][{}\"]+\]", lambda row: f"[{' '.join(row[0][1:-1].split())}]", text) + "\n"


def _arrays(record: Record) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for head, one in record.evaluations.items():
        fields = {"labels": one.labels, "predicted": one.predicted, "scores": one.scores, "classes": one.classes}
        arrays |= {f"answers/{head}/{name}": np.asarray(value) for name, value in fields.items()}
    groups = {f"mistakes/{head}": chosen for head, chosen in record.mistakes.items()}
    if record.examples is not None:
        groups["examples"] = record.examples
    for group, chosen in groups.items():
        arrays[f"{group}/rows"] = chosen.rows
        arrays |= {f"{group}/pictures/{name}": pixels for name, pixels in chosen.pictures.items()}
    if (flat := record.embedding) is not None:
        arrays |= {"embedding/points": flat.points, "embedding/shares": flat.shares, "embedding/classes": flat.classes}
    return arrays


def _chosen(fields: Mapping[str, NDArray[Any]]) -> Chosen:
    prefix = "pictures/"
    pictures = {name.removeprefix(prefix): array for name, array in fields.items() if name.startswith(prefix)}
    return Chosen(fields["rows"], pictures)


def _by_first_part(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        first, _, rest = key.partition("/")
        tree.setdefault(first, {})[rest] = value.item() if value.ndim == 0 else value
    return tree


def save_model(model: keras.Model, file: Path) -> None:
    """Writes a `.keras` file without the optimizer, whose state is as large as two more models."""
    try:
        bare = type(model).from_config(model.get_config())
        bare.set_weights(model.get_weights())
    except Exception:  # code within the model, which is kept but not copied
        bare = model
    with warnings.catch_warnings():
        # Keras 3.15 makes arrays of its variables in a way that NumPy 2 warns about.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        bare.save(file)


def _write_predictions(path: Path, evaluation: Evaluation, labels: tuple[str, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("truth", "predicted", "probability"))
        for label, predicted, score in zip(evaluation.labels, evaluation.predicted, evaluation.scores, strict=True):
            rows.writerow((labels[label], labels[predicted], f"{score:.6f}"))
