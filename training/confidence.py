"""Settles how far each head's scores may be trusted: its temperature, folded into the model, and when it must abstain.

Both are fitted on the validation split and judged on the test split, which had no say in either. Called by
`training.publish` before the export, so that every format is made of the calibrated model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import keras
import numpy as np
from numpy.typing import NDArray

from training.abstain import Threshold, answered, threshold
from training.asking import predict
from training.calibrate import Calibration, calibration, fit_temperature, tempered
from training.datasets import Dataset, Split
from training.fold import fold_temperatures
from training.tasks import FIXED_SEED, HeadSpec, Task

# Of a model whose temperature is 1, fits on 100 examples lie between 0.82 and 1.17 nine times in ten; on 25, between
# 0.64 and 1.34, which would do more harm than good.
LEAST_EXAMPLES: Final = 100
_ROWS = 1024  # asked at a time, so that memory holds the answers to a split and not its pictures


@dataclass(frozen=True, slots=True)
class Confidence:
    """What is known of one head's scores.

    `temperature` is None where none was fitted, or none could be folded into the model. `before` and `after` are of the
    test split, without and with it. `threshold` was found on the validation split, None where none was asked for or the
    precision can't be reached; `test_precision` and `test_coverage` are what it gives on the test split, the
    precision None where not one example of that is answered.
    """

    temperature: float | None
    before: Calibration
    after: Calibration
    threshold: Threshold | None = None
    test_precision: float | None = None
    test_coverage: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The figures for the manifest."""
        figures = {
            "test_ece": self.after.ece,
            "test_nll": self.after.nll,
            "test_ece_uncalibrated": self.before.ece,
            "test_nll_uncalibrated": self.before.nll,
            "test_answered_precision": self.test_precision,
            "test_answered_coverage": self.test_coverage,
        }
        return {name: value for name, value in figures.items() if value is not None}


def settle(
    model: keras.Model,
    task: Task,
    dataset: Dataset,
    *,
    calibrate: bool,
    abstain_precision: float | None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Confidence]:
    """Calibrates `model` in place if told to, and gives what is known of every head's scores.

    `abstain_precision` is the share of its answers that shall be right, None for a model that always answers. `say` is
    told what could not be had, and why.
    """
    temperatures = _calibrate(model, task, dataset.validation, say) if calibrate else {}
    judged_on, judged_for = _answers(model, task, dataset.test), task.examples(dataset.test, FIXED_SEED).targets
    thresholds = _thresholds(model, task, dataset.validation, abstain_precision, say) if abstain_precision else {}
    found = {}
    for head in task.heads:
        scores, labels, temperature = judged_on[head.output], judged_for[head.name], temperatures.get(head.name)
        limit = thresholds.get(head.name)
        precision, coverage = (None, None) if limit is None else answered(scores, labels, limit.score)
        before = scores if temperature is None else tempered(scores, 1 / temperature)
        found[head.name] = Confidence(
            temperature, calibration(before, labels), calibration(scores, labels), limit, precision, coverage
        )
    return found


def _calibrate(model: keras.Model, task: Task, split: Split, say: Callable[[str], None]) -> dict[str, float]:
    """Fits and folds; the temperatures that the model now has, by head."""
    examples = task.examples(split, FIXED_SEED)
    if len(examples) < LEAST_EXAMPLES:
        for head in task.heads:
            say(
                f"{_uncalibrated(head)}: {len(examples)} validation pictures are too few to fit a temperature on, "
                f"{LEAST_EXAMPLES} are enough"
            )
        return {}
    answers = _answers(model, task, split)
    fitted = {head.name: fit_temperature(answers[head.output], examples.targets[head.name]) for head in task.heads}
    wanted = {head.output: fitted[head.name] for head in task.heads}
    known = {output: temperature for output, temperature in wanted.items() if temperature is not None}
    folded = fold_temperatures(model, known, examples[:_ROWS].pixels(split))
    for head in task.heads:
        if fitted[head.name] is None:
            right = int((answers[head.output].argmax(axis=1) == examples.targets[head.name]).sum())
            say(
                f"{_uncalibrated(head)}: {right:,} of {len(examples):,} answers to the validation pictures are right, "
                "to which no temperature between 0.1 and 10 can be fitted; more validation pictures may help"
            )
        elif head.output not in folded:
            say(f"{_uncalibrated(head)}: it does not end in the dense layer and softmax that take a temperature")
    return {head.name: known[head.output] for head in task.heads if head.output in folded}


def _uncalibrated(head: HeadSpec) -> str:
    return f"head {head.name!r} is not calibrated, so a score of 0.9 need not be right 9 times in 10"


def _thresholds(
    model: keras.Model, task: Task, split: Split, precision: float, say: Callable[[str], None]
) -> dict[str, Threshold]:
    """The thresholds of the heads that can reach the precision; each is told of, and who can't."""
    answers, labels = _answers(model, task, split), task.examples(split, FIXED_SEED).targets
    found = {head.name: threshold(answers[head.output], labels[head.name], precision) for head in task.heads}
    for head, best in found.items():
        if best.reached:
            say(
                f"head {head!r} abstains below a score of {best.score:.3f}: {best.precision:.2%} of its other "
                f"validation answers are right, and those are {best.coverage:.1%} of all"
            )
        else:
            say(
                f"head {head!r} will answer every picture, however unsure: no least score makes {precision:.2%} of its "
                f"validation answers right; the best is {best.precision:.2%}, from a score of {best.score:.3f} on, "
                f"which {best.coverage:.1%} of them reach; wish for less by --abstain-precision"
            )
    return {head: best for head, best in found.items() if best.reached}


def _answers(model: keras.Model, task: Task, split: Split) -> dict[str, NDArray[np.float32]]:
    """The model's probabilities for every example of a split, by output."""
    examples = task.examples(split, FIXED_SEED)
    parts = [predict(model, examples[start : start + _ROWS].pixels(split)) for start in range(0, len(examples), _ROWS)]
    return {head.output: np.concatenate([part[head.output] for part in parts]) for head in task.heads}
