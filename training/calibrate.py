"""Probabilities that mean something: the temperature of a softmax head, and how far its scores are from the truth.

Pure functions of probabilities [n, classes] and class indices [n], whatever model gave them. A temperature never
changes which class is best, only how sure it sounds. Folding it into a model is `training.fold`'s business. Called by
`training.confidence`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]

BINS = 15

_LEAST, _MOST = 0.1, 10.0
_HALVINGS = 60  # of the interval between them: below the resolution of float64
_SMALLEST = np.finfo(np.float32).smallest_subnormal  # a float32 softmax that rounded to 0 was at most this


@dataclass(frozen=True, slots=True)
class Bin:
    """The answers whose score is in (lower, upper]: how many, their mean score, and the share of them that is right."""

    lower: float
    upper: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is said of one set of answers. `nll` in nats; `ece` is a difference of shares, from 0 to 1."""

    ece: float
    nll: float
    bins: tuple[Bin, ...]


def fit_temperature(probabilities: Scores, labels: NDArray[np.int64]) -> float | None:
    """The T for which softmax(logits / T) has the least negative log-likelihood; 1 would change nothing.

    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2. Log-probabilities
    stand for the logits: they differ by a constant a row, which a softmax takes away again. The likelihood is concave
    in 1/T, so its slope has one zero, which is found by bisection. None where there is none between 0.1 and 10, as
    when not one answer is wrong: such answers can't tell how sure the model may be.
    """
    logits = _logarithms(probabilities)
    low, high = 1 / _MOST, 1 / _LEAST
    if not _slope(logits, labels, low) < 0 < _slope(logits, labels, high):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(logits, labels, middle) < 0 else (low, middle)
    return float(1 / low)


def tempered(probabilities: Scores, temperature: float) -> NDArray[np.float64]:
    """What the same logits give at a temperature: p^(1/T), each row scaled to a sum of 1; float64 [n, classes]."""
    return _softmax(_logarithms(probabilities) / temperature)


def calibration(probabilities: Scores, labels: NDArray[np.int64]) -> Calibration:
    """How far the scores are from the truth: both figures and the bins of a reliability diagram."""
    bins = reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    return Calibration(
        ece=expected_error(bins),
        nll=float(-_logarithms(probabilities)[np.arange(len(labels)), labels].mean()),
        bins=bins,
    )


def reliability(scores: Scores, right: NDArray[np.bool_], bins: int = BINS) -> tuple[Bin, ...]:
    """Answers by the probability of their best class, in equally wide bins, those without an answer left out.

    `scores` are from 0 to 1, [n]; `right`, [n], says which answers are true.
    """
    scores = scores.astype(np.float64)
    places = np.clip(np.ceil(scores * bins).astype(np.int64) - 1, 0, bins - 1)
    return tuple(
        Bin(
            lower=place / bins,
            upper=(place + 1) / bins,
            count=int(inside.sum()),
            confidence=float(scores[inside].mean()),
            accuracy=float(right[inside].mean()),
        )
        for place in range(bins)
        if (inside := places == place).any()
    )


def expected_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: the mean of |accuracy - confidence| over the bins, weighted by their counts.

    Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (AAAI 2015), as in Guo
    et al., equation 3.
    """
    gaps = sum(one.count * abs(one.accuracy - one.confidence) for one in bins)
    return gaps / sum(one.count for one in bins)


def _slope(logits: NDArray[np.float64], labels: NDArray[np.int64], sharpness: float) -> float:
    """The derivative of the mean negative log-likelihood by `sharpness`, which is 1/T."""
    expected = (_softmax(logits * sharpness) * logits).sum(axis=1)
    return float((expected - logits[np.arange(len(labels)), labels]).mean())


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _logarithms(probabilities: Scores) -> NDArray[np.float64]:
    logarithms: NDArray[np.float64] = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    return logarithms
