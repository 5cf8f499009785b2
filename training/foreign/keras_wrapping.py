"""Builds the graph that is served around a Keras model or a SavedModel's signature: uint8 pixels in, scores out.

Called, through `Original.write`, by `publish`; what it builds is held against `reference`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training import replay
from training.errors import ExportUnfaithful
from training.export import export
from training.foreign.contract import INPUT, Contract
from training.foreign.original import Written

Call = Callable[[Any], dict[str, Any]]


class SignatureLayer(keras.layers.Layer):  # type: ignore[misc]
    """A SavedModel's signature as a layer. Keras's own TFSMLayer reads the folder again and copies every variable."""

    def __init__(self, loaded: Any, signature: str, argument: str) -> None:
        super().__init__(trainable=False)
        self.loaded = loaded
        self._function = loaded.signatures[signature]
        self._argument = argument

    def call(self, pictures: Any) -> dict[str, Any]:
        answers: dict[str, Any] = self._function(**{self._argument: pictures})
        return answers


def writer(call: Call) -> Callable[[Contract, Path], Written]:
    """What `Original.write` wants: wraps `call`, which gives every output by name, and exports it."""

    def write(contract: Contract, folder: Path) -> Written:
        left_out: list[str] = []
        export(wrapped(call, contract), folder, say=left_out.append)
        return Written(replay.formats_in(folder), tuple(left_out))

    return write


def wrapped(call: Call, contract: Contract) -> keras.Model:
    """The model that is served. Raises ExportUnfaithful where `call` can't be put into a graph of any batch size."""
    spec = contract.preprocessing
    pixels = keras.Input((spec.height, spec.width, spec.channels), dtype="uint8", name=INPUT)
    try:
        answers = call(_prepared(pixels, contract))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ExportUnfaithful(
            f"the model does not take any number of {spec.height}x{spec.width} pictures: {reason}; write it again with "
            "an open batch, as keras.Input(shape) gives it"
        ) from error
    scores = _finished(answers[contract.answer.output], contract)
    return keras.Model(pixels, {contract.output: scores})


def _prepared(pixels: Any, contract: Contract) -> Any:
    ops, scaling = keras.ops, contract.scaling
    values = ops.cast(pixels, "float32")
    if scaling.bgr:
        values = ops.take(values, [2, 1, 0], axis=-1)
    if any(scaling.mean):
        values = values - np.array(scaling.mean, np.float32)
    if set(scaling.std) != {1.0}:
        values = values / np.array(scaling.std, np.float32)
    if contract.layout == "NCHW":
        values = ops.transpose(values, (0, 3, 1, 2))
    elif contract.layout == "NHW":
        values = ops.squeeze(values, axis=-1)
    return ops.cast(values, contract.dtype)


def _finished(output: Any, contract: Contract) -> Any:
    ops, answer = keras.ops, contract.answer
    scores = ops.cast(output, "float32")
    if answer.flatten:
        scores = ops.reshape(scores, (-1, 1 if answer.complement else answer.classes))
    if answer.added:
        scores = getattr(ops, answer.added)(scores)
    if answer.complement:
        scores = ops.concatenate([1 - scores, scores], axis=-1)
    return scores
