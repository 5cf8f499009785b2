"""Reads an ONNX model, with its external data where it has some, and asks it through ONNX Runtime.

The reference run has every optimisation off, so it computes the graph as it is written. Called by `reading`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx.helper import tensor_dtype_to_np_dtype

from bundle.manifest import TensorSpec
from training.errors import ModelUnreadable
from training.foreign import onnx_wrapping
from training.foreign.opening import Kinds, Opening, Operation, constant_pictures, first_layer
from training.foreign.original import Array, Arrays, Original, in_fixed_batches

_BATCH = 32
_OLDEST_OPSET = 7  # before it, arithmetic does not broadcast, and ONNX Runtime reads nothing older
_KINDS = Kinds(
    arithmetic=frozenset({"Mul", "Sub", "Add", "Div"}),
    form=frozenset(
        {
            *("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose"),
            *("Slice", "Gather", "Concat", "Split", "Resize", "Upsample"),
        }
    ),
    shape=frozenset({"Shape", "Size"}),
)
_ENDING = {"Identity", "Cast", "Reshape", "Squeeze", "Flatten"}


def read(path: Path) -> Original:
    """The model in the file. Raises ModelUnreadable."""
    model, session = _load(path), _session(path, str(path))
    spec = _input(path, model)
    outputs = tuple(map(_spec, model.graph.output))
    return Original(
        path=path,
        kind="ONNX model",
        input=spec,
        outputs=outputs,
        predict=in_fixed_batches(_runner(session, spec.name), spec.shape[0] or _BATCH),
        write=partial(onnx_wrapping.write, model, spec, _has_external_data(path)),
        opening=_opening(model, spec),
        last_steps={output.name: _last_step(model.graph, output.name) for output in outputs},
    )


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
    except Exception as error:  # damaged files and missing external data fail in many ways
        raise ModelUnreadable(f"{path}: it can't be read as ONNX: {' '.join(str(error).split())}") from error
    opset = next((one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}), _OLDEST_OPSET)
    if opset < _OLDEST_OPSET:
        raise ModelUnreadable(
            f"{path}: it is of opset {opset}, at least {_OLDEST_OPSET} is needed; convert it with "
            "onnx.version_converter or export it again"
        )
    return model


def _session(path: Path, source: str | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelUnreadable(f"{path}: ONNX Runtime can't open it: {' '.join(str(error).split())}") from error


def _runner(session: onnxruntime.InferenceSession, name: str) -> Callable[[Array], Arrays]:
    names = [output.name for output in session.get_outputs()]
    return lambda pictures: dict(zip(names, session.run(names, {name: pictures}), strict=True))


def _has_external_data(path: Path) -> bool:
    graph = onnx.load(path, load_external_data=False).graph
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer)


def _input(path: Path, model: onnx.ModelProto) -> TensorSpec:
    """The one input that is no weight: files of before 2020 list the weights among the inputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [_spec(value) for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        found = ", ".join(spec.name for spec in inputs) or "none"
        raise ModelUnreadable(
            f"{path}: the model has {len(inputs)} inputs ({found}); only one, of pictures, can be used"
        )
    return inputs[0]


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    sizes = tuple(size.dim_value or None for size in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=tensor_dtype_to_np_dtype(tensor.elem_type).name, shape=sizes)


def _opening(model: onnx.ModelProto, spec: TensorSpec) -> Opening:
    operations = (Operation(node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node)
    found = first_layer(spec.name, operations, _KINDS)
    if found is None or not found[1]:
        return Opening()
    name, steps = found
    try:
        run = _runner(_session(Path(), _excerpt(model, spec, name)), spec.name)
        black, white = (run(picture)[name] for picture in constant_pictures(spec))
    except Exception:  # a graph that can't be run in parts only tells us less
        return Opening()
    return Opening(steps, float(black.min()), float(white.max()))


def _excerpt(model: onnx.ModelProto, spec: TensorSpec, output: str) -> bytes:
    """The part of the model between its input and one value."""
    needed = _needed(model.graph, output, spec.name)
    graph = onnx.helper.make_graph(
        [node for node in model.graph.node if set(node.output) & needed],
        "opening",
        [value for value in model.graph.input if value.name == spec.name],
        [onnx.ValueInfoProto(name=output)],  # ONNX Runtime finds the type
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    excerpt = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(excerpt.SerializeToString())


def _needed(graph: onnx.GraphProto, output: str, start: str) -> set[str]:
    """Every value that `output` is made of, as far as the input."""
    needed, open_names = {output}, [output]
    while open_names:
        node = _maker(graph, open_names.pop())
        new = set(node.input) - needed - {start} if node is not None else set()
        needed |= new
        open_names += new
    return needed


def _maker(graph: onnx.GraphProto, name: str) -> Any:
    return next((node for node in graph.node if name in node.output), None)


def _last_step(graph: onnx.GraphProto, output: str) -> str:
    node = _maker(graph, output)
    while node is not None and node.op_type in _ENDING:
        node = _maker(graph, node.input[0])
    return str(node.op_type) if node is not None else ""
