"""Makes the record of a run that is about to be published: its figures, and the pictures worth a closer look.

Pictures are what a server would have given the model, decoded from encoded files. Called by `training.publish`;
its figures and choices of one head by `training.foreign.reporting`, too.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Manifest
from training import speed
from training.confidence import Confidence
from training.datasets import Split
from training.evaluate import Evaluation, decoded
from training.parity import Parity
from training.report.record import Chosen, Embedding, Record
from training.tasks import FIXED_SEED, HeadSpec, Task
from training.train import Trained
from training.visualize.embedding import features, principal_components
from training.visualize.walk import has_graph

_EXAMPLES = 8
_MISTAKES = 16  # of each head
_LARGE = 96 * 96  # pixels of a picture above which fewer are laid flat, for they take long
_EMBEDDED, _EMBEDDED_LARGE = 1500, 300


def collect(
    folder: Path,
    manifest: Manifest,
    *,
    trained: Trained,
    split: Split,
    task: Task,
    evaluations: Mapping[str, Evaluation],
    parity: Sequence[Parity],
    confidences: Mapping[str, Confidence],
    notes: Sequence[str] = (),
) -> Record:
    """The record of a version that lies in `folder`, exported; `split` is the one that was evaluated."""
    asked = task.examples(split, FIXED_SEED)

    def choose(rows: NDArray[np.int64]) -> Chosen:
        return Chosen(rows, decoded(asked[rows], split, manifest.preprocessing) if len(rows) else {})

    main = evaluations[task.heads[0].name]
    examples = choose(_of_each(main))
    speeds = speed.measure(folder, manifest.variants, examples.pictures)
    return Record(
        metrics=_metrics(trained, evaluations, parity, task.heads, confidences)
        | {"notes": list(notes)}
        | {"speed": {"machine": speed.machine(), "runs": [dataclasses.asdict(one) for one in speeds]}},
        evaluations=evaluations,
        examples=examples,
        mistakes={head: choose(most_confident_mistakes(answers)) for head, answers in evaluations.items()},
        embedding=_embedding(trained.model, main, task.heads[0], choose),
    )


def _metrics(
    trained: Trained,
    evaluations: Mapping[str, Evaluation],
    parity: Sequence[Parity],
    heads: Sequence[HeadSpec],
    confidences: Mapping[str, Confidence],
) -> dict[str, Any]:
    by_head = {
        head.name: head_metrics(evaluations[head.name], head.labels)
        | {"calibration": dataclasses.asdict(confidences[head.name])}
        for head in heads
    }
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


def head_metrics(evaluation: Evaluation, labels: Sequence[str], pictures: str = "test") -> dict[str, Any]:
    """One head's accuracy, figures of each class and confusion, as they stand in metrics.json.

    `pictures` says by which it was judged: "test" or "golden".
    """
    support = evaluation.confusion.sum(axis=1)
    per_class = zip(labels, evaluation.precision, evaluation.recall, evaluation.f1, support, strict=True)
    return {
        f"{pictures}_accuracy": evaluation.accuracy,
        f"{pictures}_pictures": len(evaluation.labels),
        "classes": [
            {"label": label, "precision": float(p), "recall": float(r), "f1": float(f1), "pictures": int(count)}
            for label, p, r, f1, count in per_class
        ],
        "confusion": evaluation.confusion.tolist(),
    }


def _of_each(evaluation: Evaluation) -> NDArray[np.int64]:
    """Up to _EXAMPLES rows: the first of each class, then the second of each; those that were answered rightly first.

    Of more classes than that, some, spread over all.
    """
    classes = np.unique(evaluation.labels)
    places = np.unique(np.linspace(0, len(classes) - 1, min(_EXAMPLES, len(classes))).round().astype(int))
    wrong = evaluation.labels != evaluation.predicted
    of_class = [np.flatnonzero(evaluation.labels == number) for number in classes[places]]
    ranked = (rows[np.argsort(wrong[rows], kind="stable")] for rows in of_class)
    rounds = zip_longest(*(rows[:_EXAMPLES].tolist() for rows in ranked))
    return np.array([row for one in rounds for row in one if row is not None][:_EXAMPLES], np.int64)


def most_confident_mistakes(evaluation: Evaluation) -> NDArray[np.int64]:
    """The rows of up to _MISTAKES wrong answers, the surest first, int64 [k]."""
    wrong = np.flatnonzero(evaluation.labels != evaluation.predicted)
    return wrong[np.argsort(-evaluation.scores[wrong], kind="stable")][:_MISTAKES]


def _embedding(
    model: keras.Model, evaluation: Evaluation, head: HeadSpec, choose: Callable[[NDArray[np.int64]], Chosen]
) -> Embedding | None:
    """The main head's features on their principal axes, of examples spread over the split."""
    if not has_graph(model):
        return None
    shape = model.inputs[0].shape[1:]
    most = _EMBEDDED_LARGE if shape[0] * shape[1] > _LARGE else _EMBEDDED
    count = len(evaluation.labels)
    chosen = choose(np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)))
    found = features(model, chosen.pictures, head.output)
    if found is None:
        return None
    flat = principal_components(found)
    return Embedding(flat.points.astype(np.float32), flat.shares.astype(np.float32), evaluation.labels[chosen.rows])
