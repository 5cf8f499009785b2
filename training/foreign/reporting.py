"""What a version can show of a model that was trained elsewhere: decisions, proof, speed, answers, and its insides.

It is written into `report/` as a run's own record is, so `convoy report` makes the page again from the version alone;
what there is nothing of is left out. Keras and the charts are loaded here, after everything that may still be refused:
an ONNX model is published without them until then. Called by `publish`.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.postprocessing import top_k
from bundle.store import Bundle
from training import speed
from training.evaluate import Evaluation
from training.foreign import pictures
from training.foreign.contract import INPUT, Contract
from training.foreign.original import Original
from training.parity import Parity
from training.replay import Run
from training.startup import start_tensorflow

_BATCH = 64

Labelled = Sequence[tuple[Path, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a publication found out: how it was proved, and its answers to labelled pictures, where there are any."""

    proofs: Sequence[Parity]
    pixels: NDArray[np.uint8]
    """Of the golden pictures, [n, height, width, channels]."""
    labelled: Labelled = ()
    evaluation: Evaluation | None = None


def evaluated(run: Run, contract: Contract, labelled: Labelled) -> Evaluation | None:
    """An exported file's answers to encoded pictures; None where there are none."""
    if not labelled:
        return None
    batches = [labelled[start : start + _BATCH] for start in range(0, len(labelled), _BATCH)]
    best = [top_k(run({INPUT: _pixels(batch, contract)})[contract.output], 1) for batch in batches]
    return Evaluation(
        np.array([label for _, label in labelled], np.int64),
        np.concatenate([classes[:, 0] for classes, _ in best]),
        np.concatenate([scores[:, 0] for _, scores in best]),
        len(contract.labels),
    )


def write_report(staged: Bundle, name: str, original: Original, contract: Contract, shown: Shown) -> None:
    """Writes `report/` into a version that lies in its staging folder; `name` is the model's."""
    start_tensorflow()
    from training.report.make import make_report
    from training.report.record import FOLDER, Record, write_record

    speeds = speed.measure(staged.path, staged.manifest.variants, {INPUT: shown.pixels})
    metrics: dict[str, Any] = {
        "decisions": contract.reasons,
        "parity": [{"head": contract.head, **dataclasses.asdict(proof)} for proof in shown.proofs],
        "speed": {"machine": speed.machine(), "runs": [dataclasses.asdict(one) for one in speeds]},
    }
    record = Record(metrics) if shown.evaluation is None else _with_answers(metrics, contract, shown, shown.evaluation)
    model = None if original.look is None else original.look(contract)
    write_record(staged.path, record, {contract.head: contract.labels}, model)
    make_report(staged, staged.path / FOLDER, name)


def _with_answers(metrics: dict[str, Any], contract: Contract, shown: Shown, evaluation: Evaluation) -> Any:
    """The record of a version that was asked about labelled pictures, its surest mistakes among them."""
    from training.report.collect import head_metrics, most_confident_mistakes
    from training.report.record import Chosen, Record

    rows = most_confident_mistakes(evaluation)
    wrong = {INPUT: _pixels([shown.labelled[row] for row in rows], contract)} if len(rows) else {}
    return Record(
        metrics | head_metrics(evaluation, contract.labels, "golden"),
        {contract.head: evaluation},
        mistakes={contract.head: Chosen(rows, wrong)},
    )


def _pixels(labelled: Labelled, contract: Contract) -> NDArray[np.uint8]:
    return np.stack([pictures.pixels(file, contract.preprocessing) for file, _ in labelled])
