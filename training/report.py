"""The `report/` folder of a version: pictures for people, the same figures as JSON, every single answer as CSV.

`predictions.csv` has one row an example, in the dataset's order, so that any other way of asking the model can be
compared with it answer by answer. What belongs to one head is under its name; only the first head's files have plain
names. Called by `training.publish`.
"""

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training import visualize
from training.evaluate import Evaluation
from training.parity import Parity
from training.tasks import HeadSpec
from training.train import Trained


def write_report(
    folder: Path,
    trained: Trained,
    evaluations: Mapping[str, Evaluation],
    parity: Sequence[Parity],
    heads: Sequence[HeadSpec],
) -> None:
    """Writes `report/` into the version's folder."""
    report = folder / "report"
    report.mkdir()
    visualize.learning_curves(report / "learning_curves.png", trained.history, trained.best_epoch)
    for head in heads:
        of_head, evaluation = "" if head is heads[0] else f".{head.name}", evaluations[head.name]
        visualize.confusion_matrix(report / f"confusion_matrix{of_head}.png", evaluation.confusion, head.labels)
        _write_predictions(report / f"predictions{of_head}.csv", evaluation, head.labels)
    metrics = _metrics(trained, evaluations, parity, heads)
    (report / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def _metrics(
    trained: Trained, evaluations: Mapping[str, Evaluation], parity: Sequence[Parity], heads: Sequence[HeadSpec]
) -> dict[str, Any]:
    by_head = {head.name: _head_metrics(evaluations[head.name], head.labels) for head in heads}
    head_of = {head.output: head.name for head in heads}
    return {
        **by_head[heads[0].name],
        "heads": by_head,
        "parameters": trained.model.count_params(),
        "training_seconds": round(trained.seconds, 1),
        "best_epoch": trained.best_epoch + 1,
        "history": trained.history,
        "parity": [{"head": head_of.get(one.output), **dataclasses.asdict(one)} for one in parity],
    }


def _head_metrics(evaluation: Evaluation, labels: Sequence[str]) -> dict[str, Any]:
    per_class = zip(labels, evaluation.precision, evaluation.recall, evaluation.confusion.sum(axis=1), strict=True)
    return {
        "test_accuracy": evaluation.accuracy,
        "test_pictures": len(evaluation.labels),
        "classes": [
            {"label": label, "precision": float(precision), "recall": float(recall), "pictures": int(pictures)}
            for label, precision, recall, pictures in per_class
        ],
        "confusion": evaluation.confusion.tolist(),
    }


def _write_predictions(path: Path, evaluation: Evaluation, class_names: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("truth", "predicted", "probability"))
        for label, predicted, score in zip(evaluation.labels, evaluation.predicted, evaluation.scores, strict=True):
            rows.writerow((class_names[label], class_names[predicted], f"{score:.6f}"))
