"""Reads a TensorFlow function's graph: what it does with pixels first, and with which operator each output ends.

Advisory only: a graph that can't be read (hash tables, old control flow) just tells nothing, and the user is asked.
Used by `keras_file` and `saved_model`.
"""

from typing import Any

from bundle.manifest import TensorSpec
from training.foreign.opening import Kinds, Opening, Operation, constant_pictures, first_layer

_KINDS = Kinds(
    arithmetic=frozenset({"Mul", "Sub", "Add", "AddV2", "RealDiv", "Div", "DivNoNan", "BiasAdd"}),
    form=frozenset(
        {
            *("Cast", "Identity", "StopGradient", "Reshape", "Squeeze", "ExpandDims", "Transpose"),
            *("StridedSlice", "GatherV2", "ReverseV2", "Pack", "ConcatV2", "Split", "Unpack"),
            *("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea"),
        }
    ),
    shape=frozenset({"Shape", "ShapeN", "Rank", "Size"}),
)
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
    import tensorflow as tf

    (start,) = (tensor for tensor in frozen.inputs if tensor.dtype != tf.resource)
    found = first_layer(start.name, map(_operation, frozen.graph.get_operations()), _KINDS)
    if found is None or not found[1]:
        return Opening()
    run = frozen.prune(start, frozen.graph.get_tensor_by_name(found[0]))
    black, white = (run(tf.constant(picture)).numpy() for picture in constant_pictures(spec))
    return Opening(found[1], float(black.min()), float(white.max()))


def _operation(operation: Any) -> Operation:
    names = ([tensor.name for tensor in tensors] for tensors in (operation.inputs, operation.outputs))
    return Operation(operation.type, *map(tuple, names))


def _last_step(tensor: Any) -> str:
    operation = tensor.op
    while operation.type in _ENDING:
        operation = operation.inputs[0].op
    return str(operation.type)
