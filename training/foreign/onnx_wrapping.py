"""Builds the graph that is served around an ONNX model: uint8 NHWC pixels in, scores out, any batch size.

The model's own operators, weights and opset stay as they are; nodes are put before its input and behind its output.
A batch size that the file fixes is freed as far as the graph's outside says it; whether that was enough is shown by the
proof. Called, through `Original.write`, by `publish`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bundle.manifest import TensorSpec
from training.foreign.contract import INPUT, Contract
from training.foreign.original import Written

FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

_BATCH = "batch"
_OWN = "convoy/"  # before the names of our values and nodes
_RENAMED = "original/"  # before those of the model's values that have one of our names


def write(model: onnx.ModelProto, taken: TensorSpec, external_data: bool, contract: Contract, folder: Path) -> Written:
    """Writes `model.onnx`, and the weights beside it where they lay beside the original."""
    onnx.save_model(
        wrapped(model, taken, contract),
        folder / FILE,
        save_as_external_data=external_data,
        all_tensors_to_one_file=True,
        location=DATA_FILE,
        size_threshold=1024,
    )
    onnx.checker.check_model(folder / FILE)  # by its path, since a model with external data may be over 2 GB
    return Written(formats=("onnx",))


def wrapped(model: onnx.ModelProto, taken: TensorSpec, contract: Contract) -> onnx.ModelProto:
    """A copy of the model with our nodes around it; `taken` is the original's input."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    pixels, scores = _RENAMED + taken.name, contract.answer.output
    _rename(graph, taken.name, pixels)
    for name in (INPUT, contract.output):
        _rename(graph, name, _RENAMED + name)
        scores = _RENAMED + name if scores == name else scores
    if taken.shape[0] is not None:
        _free_batch(graph, taken.shape[0])
    del graph.value_info[:]  # it may hold the fixed batch, and is made anew by whoever needs it
    before, behind = _Nodes("before"), _Nodes("behind")
    _prepare(before, contract, pixels)
    _finish(behind, contract, scores)
    nodes = [*before.nodes, *graph.node, *behind.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.constants, *behind.constants])
    _declare(graph, pixels, contract)
    return copy


class _Nodes:
    """Collects nodes, each of which takes what the one before it gave."""

    def __init__(self, place: str) -> None:
        self._prefix = f"{_OWN}{place}/"
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | NDArray[Any], output: str | None = None, **attributes: Any) -> str:
        """Adds a node and gives its output's name; arrays become constants."""
        name = f"{self._prefix}{len(self.nodes)}" if output is None else output
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self.nodes.append(
            helper.make_node(operator, names, [name], name=f"{self._prefix}{operator}_{len(self.nodes)}", **attributes)
        )
        return name

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def _prepare(add: _Nodes, contract: Contract, pixels: str) -> None:
    """From our input to the value `pixels`, as the model takes it."""
    spec, scaling = contract.preprocessing, contract.scaling
    value = INPUT
    if scaling.bgr:
        value = add.add("Gather", value, np.array([2, 1, 0], np.int64), axis=3)
    if not scaling.changes_nothing:
        value = add.add("Cast", value, to=TensorProto.FLOAT)
        value = add.add("Sub", value, np.array(scaling.mean, np.float32))
        value = add.add("Div", value, np.array(scaling.std, np.float32))
    if contract.layout == "NCHW":
        value = add.add("Transpose", value, perm=[0, 3, 1, 2])
    elif contract.layout == "NHW":
        value = add.add("Reshape", value, np.array([0, spec.height, spec.width], np.int64))
    add.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(contract.dtype)), output=pixels)


def _finish(add: _Nodes, contract: Contract, scores: str) -> None:
    """From the value `scores` to our output."""
    answer = contract.answer
    value = add.add("Cast", scores, to=TensorProto.FLOAT)
    if answer.flatten:
        value = add.add("Flatten", value, axis=1)
    if answer.added == "softmax":
        value = add.add("Softmax", value, axis=1)
    elif answer.added == "sigmoid":
        value = add.add("Sigmoid", value)
    if answer.complement:
        other = add.add("Sub", np.array(1, np.float32), value)
        value = add.add("Concat", other, value, axis=1)
    add.add("Identity", value, output=contract.output)


def _declare(graph: onnx.GraphProto, pixels: str, contract: Contract) -> None:
    """The graph's outside: our input in the place of the model's, our output alone."""
    spec = contract.preprocessing
    others = [value for value in graph.input if value.name != pixels]  # weights, in files of before 2020
    del graph.input[:]
    sizes = [_BATCH, spec.height, spec.width, spec.channels]
    graph.input.extend([helper.make_tensor_value_info(INPUT, TensorProto.UINT8, sizes), *others])
    del graph.output[:]
    classes = contract.answer.classes
    graph.output.append(helper.make_tensor_value_info(contract.output, TensorProto.FLOAT, [_BATCH, classes]))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Gives a value another name wherever it is used, in loops and branches too."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
        for inner in _subgraphs(node):
            _rename(inner, old, new)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new if value.name == old else value.name


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _free_batch(graph: onnx.GraphProto, rows: int) -> None:
    """Frees the batch in the constant shapes of Reshape nodes, where exporters that fix it write it down."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            tensor.CopyFrom(numpy_helper.from_array(_freed(numpy_helper.to_array(tensor), rows), tensor.name))
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            for attribute in node.attribute:
                if attribute.name == "value":
                    attribute.t.CopyFrom(numpy_helper.from_array(_freed(numpy_helper.to_array(attribute.t), rows)))


def _freed(shape: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """The shape with an open batch in front: -1, or 0 (as it comes in) where another size is -1 already."""
    if shape.size == 0 or shape[0] != rows:
        return shape
    return np.array([0 if -1 in shape else -1, *shape[1:]], np.int64)
