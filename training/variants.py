"""The variants of another precision: made, measured on encoded pictures, and refused unless they answer nearly alike.

A variant is published only if its accuracy and its answers are within the gate's limits of the exact one's. Its golden
samples are the exact ones; its tolerance is what it was seen to need. Called by `training.publish`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.manifest import Golden, Preprocessing, Variant
from bundle.preprocessing import decode
from training.datasets import Dataset
from training.errors import VariantRefused
from training.evaluate import Evaluation, evaluate
from training.parity import TOLERANCE
from training.quantize import quantize
from training.replay import PATHS, Arrays, Run, in_batches, open_onnx
from training.tasks import FIXED_SEED, Task

INT8 = "int8"

# Room for engines and processors that round the same int8 graph differently.
_MARGIN = 2.0
_BATCH_SIZE = 32
_ROUNDING = 1e-9  # 0.95 - 0.945 is a little more than 0.005


@dataclass(frozen=True, slots=True)
class Gate:
    """What a variant may lose on the test pictures, for every head.

    `max_loss` is a share of the pictures, 0.005 being half a percentage point of accuracy; `min_agreement` is the share
    whose best class must be that of the exact variant.
    """

    max_loss: float = 0.005
    min_agreement: float = 0.99


def int8_variant(
    folder: Path,
    *,
    dataset: Dataset,
    task: Task,
    preprocessing: Sequence[Preprocessing],
    golden: Golden,
    exact: Mapping[str, Evaluation],
    pictures: int,
    gate: Gate,
    explain: str | None = None,
) -> Variant:
    """Writes `model.int8.onnx` beside `model.onnx`, calibrated on `pictures` training examples, and measures it.

    `exact` are the answers of `model.onnx` to the test split; `explain` is the file of its explanations, which the
    variant shares. Raises VariantRefused, with the figures, and leaves no file, where the graph can't be quantised or
    the variant is not as good as the gate wants.
    """
    calibration = calibration_rows(dataset, task, pictures)
    file = quantize(folder, calibration)
    try:
        found = evaluate(open_onnx(file), dataset.test, task, preprocessing)
        agreement = judge(exact, found, gate)
    except VariantRefused:
        file.unlink()
        raise
    runs = open_onnx(folder / PATHS["onnx"]), open_onnx(file)
    rows = (calibration, golden_rows(folder, golden, preprocessing))
    return Variant(
        name=INT8,
        format="onnx",
        path=file.name,
        precision="int8",
        tolerance=max(tolerance(*runs, inputs) for inputs in rows),
        accuracy=found[task.heads[0].name].accuracy,
        agreement=agreement,
        explain=explain,
    )


def judge(exact: Mapping[str, Evaluation], found: Mapping[str, Evaluation], gate: Gate) -> float:
    """The least agreement over all heads. Raises VariantRefused where any head loses more than the gate allows."""
    agreements = {head: float((found[head].predicted == exact[head].predicted).mean()) for head in exact}
    for head, agreement in agreements.items():
        loss = exact[head].accuracy - found[head].accuracy
        if loss > gate.max_loss + _ROUNDING or agreement < gate.min_agreement - _ROUNDING:
            raise VariantRefused(
                f"head {head!r} is right on {found[head].accuracy:.2%} of the test pictures in place of "
                f"{exact[head].accuracy:.2%}, and gives the same class on {agreement:.2%}; allowed are a loss of "
                f"{100 * gate.max_loss:g} points and an agreement of {gate.min_agreement:.2%}"
            )
    return min(agreements.values())


def tolerance(exact: Run, found: Run, inputs: Arrays) -> float:
    """Twice the largest difference of any output on these rows, above what rounding alone may do."""
    wanted, given = in_batches(exact, inputs, _BATCH_SIZE), in_batches(found, inputs, _BATCH_SIZE)
    largest = max(float(np.abs(wanted[name].astype(np.float64) - given[name]).max()) for name in wanted)
    return round(_MARGIN * largest + TOLERANCE, 4)


def calibration_rows(dataset: Dataset, task: Task, pictures: int) -> Arrays:
    """Examples from all over the training split, which may be sorted by class; uint8 by input."""
    examples = task.examples(dataset.train, FIXED_SEED)
    places = np.unique(np.linspace(0, len(examples) - 1, min(pictures, len(examples))).astype(np.int64))
    return examples[places].pixels(dataset.train)


def golden_rows(folder: Path, golden: Golden, preprocessing: Sequence[Preprocessing]) -> Arrays:
    """The golden pictures as a server will see them."""
    return {
        spec.input: np.stack([decode((folder / path).read_bytes(), spec) for path in golden.images[spec.input]])
        for spec in preprocessing
    }
