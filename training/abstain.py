"""The score below which a model should not answer, for the precision that is wished of its answers.

Found on pictures that the model was not trained on; recorded in the manifest, where the service reads it. Called by
`training.confidence`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.postprocessing import abstained

# Fewer answers than this can be all right by luck, and would promise a precision that nobody has seen.
_LEAST_ANSWERED = 30


@dataclass(frozen=True, slots=True)
class Threshold:
    """Answering only pictures whose best score is at least `score`.

    `precision` is the share of the answered pictures that is right, `coverage` the share of all that is answered.
    `reached` says whether the precision is the one that was wished; if not, this is the threshold that comes nearest.
    """

    score: float
    precision: float
    coverage: float
    reached: bool


def threshold(probabilities: NDArray[np.floating], labels: NDArray[np.int64], precision: float) -> Threshold:
    """The lowest score with which the answered pictures are right at least as often as wished, from 0 to 1.

    `probabilities` are [n, classes]. At least 30 pictures (or all, where there are fewer) must be answered. The score
    is 0 where all answers together are right often enough: the least one seen would call others unsure for no reason.
    """
    scores = probabilities.max(axis=1).astype(np.float32)  # as a server compares them
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    answered = np.arange(1, len(ranked) + 1)
    precisions = np.cumsum((probabilities.argmax(axis=1) == labels)[order]) / answered
    # Equal scores are answered together or not at all, so only the last of them is a place to stop.
    stops = np.append(ranked[1:] < ranked[:-1], True) & (answered >= min(_LEAST_ANSWERED, len(ranked)))
    if precisions[-1] >= precision:
        return Threshold(score=0.0, precision=float(precisions[-1]), coverage=1.0, reached=True)
    reaching = np.flatnonzero(stops & (precisions >= precision))
    if len(reaching):
        return _at(int(reaching[-1]), ranked, precisions, reached=True)
    nearest = np.flatnonzero(stops)[precisions[stops].argmax()]
    return _at(int(nearest), ranked, precisions, reached=False)


def answered(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], score: float
) -> tuple[float | None, float]:
    """Precision and coverage of a threshold on other pictures; precision None where none is answered."""
    taken = ~abstained(probabilities.max(axis=1), score)
    right = probabilities.argmax(axis=1) == labels
    return (float(right[taken].mean()) if taken.any() else None), float(taken.mean())


def _at(place: int, ranked: NDArray[np.floating], precisions: NDArray[np.float64], *, reached: bool) -> Threshold:
    return Threshold(
        score=float(ranked[place]),
        precision=float(precisions[place]),
        coverage=float((place + 1) / len(ranked)),
        reached=reached,
    )
