"""Builds the graph that is served around a Keras model or a SavedModel's signature: uint8 pixels in, scores out.

Called, through `Original.write`, by `publish`; what it builds is held against `reference`. Models that are only looked
into get their pixels in the same way, here and for `training.opened`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training import replay
from training.asking import named, structured
from training.errors import ExportUnfaithful
from training.export import export
from training.foreign.contract import INPUT, Contract, Layout
from training.foreign.original import Written
from training.foreign.scaling import Scaling

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
        answers = call(_prepared(pixels, contract.scaling, contract.layout, contract.dtype))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ExportUnfaithful(
            f"the model does not take any number of {spec.height}x{spec.width} pictures: {reason}; write it again with "
            "an open batch, as keras.Input(shape) gives it"
        ) from error
    scores = _finished(answers[contract.answer.output], contract)
    return keras.Model(pixels, {contract.output: scores})


def looked_into(call: Call, contract: Contract) -> keras.Model:
    """The served model, but that the one score of a yes-or-no model stays one.

    What explains an answer follows the layer that made it, and would lose its trace behind [1 - p, p].
    """
    answer = contract.answer
    if answer.complement:
        answer = dataclasses.replace(answer, complement=False, classes=1)
    return wrapped(call, dataclasses.replace(contract, answer=answer))


def scaled(model: keras.Model, scaling: Scaling) -> keras.Model:
    """The model behind uint8 inputs of its inputs' names, whose pixels are scaled before they go in."""
    inputs = [keras.Input(tensor.shape[1:], dtype="uint8", name=tensor.name) for tensor in model.inputs]
    each = zip(inputs, model.inputs, strict=True)
    values = {tensor.name: _prepared(pixels, scaling, "NHWC", tensor.dtype) for pixels, tensor in each}
    return keras.Model(inputs, named(model, model(structured(model, values), training=False)))


def _prepared(pixels: Any, scaling: Scaling, layout: Layout, dtype: str) -> Any:
    ops = keras.ops
    values = ops.cast(pixels, "float32")
    if scaling.bgr:
        values = ops.take(values, [2, 1, 0], axis=-1)
    if any(scaling.mean):
        values = values - np.array(scaling.mean, np.float32)
    if set(scaling.std) != {1.0}:
        values = values / np.array(scaling.std, np.float32)
    if layout == "NCHW":
        values = ops.transpose(values, (0, 3, 1, 2))
    elif layout == "NHW":
        values = ops.squeeze(values, axis=-1)
    return _cast(values, dtype)


def _cast(values: Any, dtype: str) -> Any:
    """A step of the graph only where it changes something."""
    return values if values.dtype == dtype else keras.ops.cast(values, dtype)


def _finished(output: Any, contract: Contract) -> Any:
    ops, answer = keras.ops, contract.answer
    scores = _cast(output, "float32")
    if answer.flatten:
        scores = ops.reshape(scores, (-1, 1 if answer.complement else answer.classes))
    if answer.added:
        scores = keras.layers.Activation(answer.added)(scores)
    if answer.complement:
        scores = ops.concatenate([1 - scores, scores], axis=-1)
    return scores
