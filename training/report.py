"""The `report/` folder of a version: pictures for people, the same figures as JSON, every single answer as CSV.

`predictions.csv` has one row a test picture, in the dataset's order, so that any other way of asking the model can be
compared with it answer by answer. Called by `training.publish`.
"""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training import visualize
from training.evaluate import Evaluation
from training.parity import Parity
from training.train import Trained


def write_report(
    folder: Path, trained: Trained, evaluation: Evaluation, parity: Sequence[Parity], class_names: Sequence[str]
) -> None:
    """Writes `report/` into the version's folder."""
    report = folder / "report"
    report.mkdir()
    visualize.learning_curves(report / "learning_curves.png", trained.history, trained.best_epoch)
    visualize.confusion_matrix(report / "confusion_matrix.png", evaluation.confusion, class_names)
    metrics = _metrics(trained, evaluation, parity, class_names)
    (report / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    _write_predictions(report / "predictions.csv", evaluation, class_names)


def _metrics(
    trained: Trained, evaluation: Evaluation, parity: Sequence[Parity], class_names: Sequence[str]
) -> dict[str, Any]:
    per_class = zip(class_names, evaluation.precision, evaluation.recall, evaluation.confusion.sum(axis=1), strict=True)
    return {
        "test_accuracy": evaluation.accuracy,
        "test_pictures": len(evaluation.labels),
        "parameters": trained.model.count_params(),
        "training_seconds": round(trained.seconds, 1),
        "best_epoch": trained.best_epoch + 1,
        "history": trained.history,
        "classes": [
            {"label": label, "precision": float(precision), "recall": float(recall), "pictures": int(pictures)}
            for label, precision, recall, pictures in per_class
        ],
        "confusion": evaluation.confusion.tolist(),
        "parity": [dataclasses.asdict(one) for one in parity],
    }


def _write_predictions(path: Path, evaluation: Evaluation, class_names: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("truth", "predicted", "probability"))
        for label, predicted, score in zip(evaluation.labels, evaluation.predicted, evaluation.scores, strict=True):
            rows.writerow((class_names[label], class_names[predicted], f"{score:.6f}"))
