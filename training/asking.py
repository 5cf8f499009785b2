"""Asks a Keras model by name, whatever structure its inputs and outputs have: one tensor, a list or a dict.

Owns the names of a model's outputs: those of a dict are its keys, a single output is `probabilities`, a list's are
Keras's own names of them. Inputs have the names that they were declared with. Called by `training.export` and by what
compares or keeps the model's answers.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.tasks import CLASS_HEAD, output_name

_BATCH_SIZE = 64


def predict(model: keras.Model, inputs: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """The model's own answers, by output name, to arrays [n, ...] by input name."""
    answers = model.predict(structured(model, inputs), batch_size=_BATCH_SIZE, verbose=0)
    return named(model, answers)


def structured(model: keras.Model, inputs: Mapping[str, Any]) -> Any:
    """What is given by input name, in the structure that the model takes."""
    # A Sequential has no `input` of its own, and always one tensor.
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(lambda tensor: inputs[tensor.name], structure)


def named(model: keras.Model, outputs: Any) -> dict[str, Any]:
    """What came in the structure that the model gives, by output name."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, list | tuple):
        return dict(zip(model.output_names, outputs, strict=True))
    return {output_name(CLASS_HEAD): outputs}
