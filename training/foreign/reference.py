"""What the exported graph must answer, computed without it: NumPy around the original model.

Deliberately shares no line with the wrappings, so a graph that scales, turns or transposes wrongly is caught by the
proof. Called by `publish`.
"""

import numpy as np
from numpy.typing import NDArray

from training.foreign.contract import Contract
from training.foreign.original import Array, Original


def expected(original: Original, contract: Contract, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The scores, float32 [n, classes], that the original gives to uint8 [n, height, width, channels]."""
    answers = original.predict(prepared(contract, pixels))
    return finished(contract, answers[contract.answer.output])


def prepared(contract: Contract, pixels: NDArray[np.uint8]) -> Array:
    """Pixels scaled and laid out as the original takes them."""
    scaling = contract.scaling
    values: Array = pixels.astype(np.float32)
    if scaling.bgr:
        values = values[..., ::-1]
    if not scaling.changes_nothing:
        mean: Array = np.array(scaling.mean, np.float32)
        values = (values - mean) / np.array(scaling.std, np.float32)
    if contract.layout == "NCHW":
        values = np.moveaxis(values, -1, 1)
    elif contract.layout == "NHW":
        values = values[..., 0]
    return np.ascontiguousarray(values.astype(contract.dtype))


def finished(contract: Contract, output: Array) -> NDArray[np.float32]:
    """An output of the original as the head's scores."""
    answer = contract.answer
    scores = output.astype(np.float32)
    if answer.flatten:
        scores = scores.reshape(len(scores), -1)
    if answer.added == "softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    elif answer.added == "sigmoid":
        # 1 / (1 + exp(-x)), written so that nothing overflows.
        scores = 0.5 + 0.5 * np.tanh(0.5 * scores)
    if answer.complement:
        scores = np.concatenate([1 - scores, scores], axis=1)
    return np.asarray(scores, np.float32)
