"""Reads a TensorFlow function's graph: what it does with pixels first, and with which operator each output ends.

Advisory only: a graph that can't be read (hash tables, old control flow) just tells nothing, and the user is asked.
Used by `keras_file` and `saved_model`.
"""

from typing import Any

from bundle.manifest import TensorSpec
from training.foreign.original import Opening, constant_pictures

_PASSING = {
    *("Cast", "Identity", "Transpose", "Reshape", "ReverseV2", "StridedSlice", "GatherV2", "Squeeze", "ExpandDims"),
    *("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "PreventGradient", "StopGradient"),
}
_ARITHMETIC = {"Mul", "Sub", "Add", "AddV2", "RealDiv", "Div", "DivNoNan", "BiasAdd"}
_ASKS_ONLY_THE_SHAPE = {"Shape", "ShapeN", "Rank", "Size"}
_ENDING = {"Identity", "Cast", "Reshape", "Squeeze"}


def read(function: Any, spec: TensorSpec) -> tuple[Opening, dict[str, str]]:
    """The opening, and the last operator that is not mere form, by output name.

    `function` is a ConcreteFunction of one tensor that gives a dict of tensors.
    """
    # TensorFlow's public interface can't inline functions and variables; its own converters use this too.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        frozen = convert_variables_to_constants_v2(function)
        last = {
            name: _last_step(tensor)
            for name, tensor in zip(sorted(function.structured_outputs), frozen.outputs, strict=True)
        }
        return _opening(frozen, spec), last
    except Exception:
        return Opening(), {}


def _opening(frozen: Any, spec: TensorSpec) -> Opening:
    (start,) = (tensor for tensor in frozen.inputs if tensor.dtype.name == spec.dtype)
    tensor, steps = start, []
    while (operation := _only_consumer(tensor)) is not None:
        if operation.type in _ARITHMETIC:
            steps.append(operation.type)
        elif operation.type not in _PASSING:
            break
        tensor = operation.outputs[0]
    if not steps:
        return Opening()
    run = frozen.prune(start, tensor)
    black, white = (run(picture_of(start, picture)).numpy() for picture in constant_pictures(spec))
    return Opening(tuple(steps), float(black.min()), float(white.max()))


def picture_of(tensor: Any, picture: Any) -> Any:
    """The array as a tensor of the type that `tensor` has."""
    import tensorflow as tf

    return tf.constant(picture, tensor.dtype)


def _only_consumer(tensor: Any) -> Any:
    """The operation that takes the tensor; None where there are several or none."""
    consumers = [operation for operation in tensor.consumers() if operation.type not in _ASKS_ONLY_THE_SHAPE]
    return consumers[0] if len(consumers) == 1 else None


def _last_step(tensor: Any) -> str:
    operation = tensor.op
    while operation.type in _ENDING:
        operation = operation.inputs[0].op
    return str(operation.type)
