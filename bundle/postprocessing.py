"""From scores to the best classes, and to whether they are sure enough, for a whole batch at once.

Owns the order: best first, ties to the lower index, NaN last; and the rule by which a model abstains. The same scores
give the same answer whatever batch they were in. Called by the service's predictor, by batch jobs and by training's
evaluation.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# So few are sorted as a whole, in fewer steps; of more only the best are sorted.
_FEW_CLASSES = 128
_INDEX_BITS = np.uint64(32)
_INDEX_MASK = np.uint64(0xFFFF_FFFF)
_SIGN_BIT = np.uint32(0x8000_0000)


def top_k(scores: NDArray[np.floating[Any]], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `k` best classes of every row.

    `scores` is [n, classes] of any float dtype and is compared as float32. Returns the class indices, int64 [n, k], and
    their scores, float32 [n, k]. Raises ValueError where `k` is not in 1..classes or `scores` has not two dimensions.
    """
    if scores.ndim != 2:  # noqa: PLR2004
        raise ValueError(f"scores have the shape {list(scores.shape)}, but [n, classes] is needed")
    classes = scores.shape[1]
    if not 1 <= k <= classes:
        raise ValueError(f"top_k is {k}, but it must be between 1 and the number of classes, {classes}")
    values = scores.astype(np.float32)
    if classes <= _FEW_CLASSES:
        indices = np.argsort(-values, axis=1, kind="stable")[:, :k]
        starts = np.arange(0, values.size, classes)[:, np.newaxis]
        return indices, values.ravel().take(starts + indices)  # what take_along_axis does, in a third of the time
    keys = _sort_keys(values)
    if k < classes:
        keys = np.partition(keys, classes - k, axis=1)[:, classes - k :]
    best = np.sort(keys, axis=1)[:, ::-1]
    indices = (classes - 1) - (best & _INDEX_MASK).astype(np.int64)
    return indices, np.take_along_axis(values, indices, axis=1)


def abstained(best: NDArray[np.floating[Any]], below: float) -> NDArray[np.bool_]:
    """Which answers, by their best scores [n], are too unsure to be used; of a NaN nobody can be sure."""
    return ~(best.astype(np.float32) >= np.float32(below))


def _sort_keys(values: NDArray[np.float32]) -> NDArray[np.uint64]:
    """One integer for each score that sorts as (score, -index) does: with no equal keys a partition has no choice."""
    bits = (values + np.float32(0)).view(np.uint32)  # adding zero turns -0.0, which must tie with 0.0, into 0.0
    ordered = np.where(bits & _SIGN_BIT, ~bits, bits | _SIGN_BIT)
    ordered = np.where(np.isnan(values), np.uint32(0), ordered)
    reversed_index = np.arange(values.shape[1] - 1, -1, -1, dtype=np.uint64)
    return ordered.astype(np.uint64) << _INDEX_BITS | reversed_index
