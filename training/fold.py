"""A temperature folded into a Keras model, so that every export of it has it and no reader needs to know.

softmax(z / T) of a dense layer z = Wx + b is the softmax of a dense layer with W/T and b/T: nothing is added to the
graph, and nothing is approximated. Called by `training.confidence`, before the export.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.asking import named, predict
from training.calibrate import tempered

# The same float32 softmax with its logits divided before the sum of products or after it.
_TOLERANCE = 1e-4


def fold_temperatures(
    model: keras.Model, temperatures: Mapping[str, float], inputs: Mapping[str, NDArray[np.uint8]]
) -> tuple[str, ...]:
    """Divides the last layer of each output named by its temperature, in place; the outputs for which that was done.

    An output is left as it was where it is not a softmax of a dense layer or where, on the rows of `inputs`, any output
    of the changed model is not what it should be: a layer may feed more than one output.
    """
    return tuple(output for output, temperature in temperatures.items() if _fold(model, output, temperature, inputs))


def _fold(model: keras.Model, output: str, temperature: float, inputs: Mapping[str, NDArray[np.uint8]]) -> bool:
    # A Sequential model that was never called has outputs, but no `output`.
    layer = _last_dense(named(model, getattr(model, "output", model.outputs[0]))[output])
    if layer is None:
        return False
    before, weights = predict(model, inputs), layer.get_weights()
    layer.set_weights([array / array.dtype.type(temperature) for array in weights])
    found, wanted = predict(model, inputs), before | {output: tempered(before[output], temperature)}
    if all(np.abs(found[name] - wanted[name]).max() <= _TOLERANCE for name in wanted):
        return True
    layer.set_weights(weights)
    return False


def _last_dense(output: keras.KerasTensor) -> keras.layers.Dense | None:
    """The dense layer whose softmax the output is; None where it is something else."""
    layer, argument = _producer(output)
    if isinstance(layer, keras.layers.Dense):
        return layer if layer.activation is keras.activations.softmax else None
    is_softmax = getattr(layer, "activation", None) is keras.activations.softmax
    if not (is_softmax or isinstance(layer, keras.layers.Softmax)):
        return None
    layer, _ = _producer(argument)
    is_linear = isinstance(layer, keras.layers.Dense) and layer.activation is keras.activations.linear
    return layer if is_linear else None


def _producer(tensor: keras.KerasTensor) -> tuple[Any, keras.KerasTensor]:
    """The layer that a tensor comes from, looked up inside of models that are used as layers, and its first input."""
    history = tensor._keras_history  # noqa: SLF001 - the record by which Keras itself walks its graphs
    layer = history.operation
    if isinstance(layer, keras.Model):
        return _producer(layer.outputs[history.tensor_index])
    node = layer._inbound_nodes[history.node_index]  # noqa: SLF001
    return layer, next(iter(node.input_tensors), tensor)
