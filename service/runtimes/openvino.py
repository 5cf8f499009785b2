"""Runs an ONNX variant with OpenVINO on the CPU.

Owns the compiled models and their properties. The invariant: arithmetic, threads, streams and device are all told,
never left to OpenVINO's defaults, which would compute in bf16 wherever the CPU can. Opened by `opening.open_runtime`;
importing this module imports openvino.
"""

import importlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from bundle.manifest import Signature, TensorSpec
from service.errors import DeviceUnavailable, ModelUnusable
from service.runtimes.base import Array, Arrays, RuntimeInfo
from service.runtimes.devices import Device
from service.runtimes.models import Model, Models
from service.runtimes.signature import check_explanations, check_signature
from service.runtimes.sizes import size_for

# The model converter: needs more than twice openvino's own time to import, and sends usage data when it is.
_CONVERTER: Final = "openvino.tools.ovc"
_CPU: Final = "CPU"
# Each size of batch holds the weights again: larger files are compiled once, for any size.
_MOST_BYTES: Final = 128 << 20
_DTYPES: Final = {
    "boolean": "bool",
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
}


_Ports = list[tuple[str, Any]]
"""Outputs by name, as OpenVINO finds them in an answer."""
_Request = tuple[Any, dict[str, Array], _Ports]


def _import_openvino() -> Any:
    """The openvino module without its converter, which it does without. Raises ImportError."""
    hidden = _CONVERTER not in sys.modules
    if hidden:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # as Python marks what can't be imported
    try:
        return importlib.import_module("openvino")
    finally:
        if hidden:
            del sys.modules[_CONVERTER]


openvino = _import_openvino()


class OpenVinoRuntime:
    """One variant, compiled for the sizes that its batches have. Called from one thread at a time."""

    def __init__(
        self,
        model: Path,
        signature: Signature,
        *,
        variant: str,
        device: Device,
        threads: int,
        computed: Literal["exact", "bf16"],
        explain: Path | None = None,
    ) -> None:
        """Opens the file at `model`; `computed` "exact" means fp32 for what the graph has in fp32.

        The one at `explain`, which gives the explanations, is always computed exactly.

        Raises DeviceUnavailable for anything but the CPU and for bf16 on a CPU without it, or ModelUnusable where the
        file does not fit.
        """
        core = openvino.Core()
        _check_device(core, device, computed)
        graph = _read(core, model)
        check_signature(signature, _specs(graph.inputs), _specs(graph.outputs))
        properties = _properties(threads, computed)
        fits = model.stat().st_size <= _MOST_BYTES and all(None not in spec.shape[1:] for spec in signature.inputs)
        answering: Model = (
            _Sized(core, graph, properties, signature)
            if fits
            else _requested(_compiled(core, graph, properties), signature.outputs)
        )
        explaining = None
        if explain is not None:
            second = _compiled(core, _read(core, explain), _properties(threads, "exact"))
            check_explanations(signature, _specs(second.inputs), _specs(second.outputs))
            explaining = _requested(second, signature.explanations)
        self._models = Models("OpenVINO", variant, answering, explaining)
        engine = f"openvino {openvino.get_version().partition('-')[0]}"
        self.info = RuntimeInfo(
            engine if computed == "exact" else f"{engine} ({computed})",
            variant,
            Device("cpu").kind,
            threads,
            padded=isinstance(answering, _Sized),
        )

    def run(self, inputs: Arrays, *, explain: bool = False) -> dict[str, Array]:
        """Runs one batch. Raises RuntimeFailed with OpenVINO's own words."""
        return self._models.run(inputs, explain=explain)

    def close(self) -> None:
        """Gives the compiled models' memory back."""
        self._models.close()


class _Sized:
    """The graph compiled once for each size of batch that there may be; between them a batch is padded.

    Compiled for any size, MobileNetV2 takes 1.2 to 1.5 times as long for a picture, and more where sizes change from
    batch to batch: OpenVINO then lays out its memory, and chooses its kernels, anew. A size is compiled with its first
    batch, which is the proof's for all that a plan allows.
    """

    def __init__(self, core: Any, graph: Any, properties: dict[str, Any], signature: Signature) -> None:
        """Compiles the graph for single rows, so that what OpenVINO can't compile is known at once."""
        self._core = core
        self._graph = graph
        self._properties = properties
        self._signature = signature
        self._requests = {1: self._request(1)}

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        count = len(next(iter(inputs.values())))
        size = size_for(count)
        found = self._requests.get(size)
        if found is None:
            found = self._requests[size] = self._request(size)
        request, buffers, ports = found
        for name, rows in inputs.items():
            buffers[name][:count] = rows
        values = request.infer(share_outputs=False)
        return {name: values[port][:count] for name, port in ports}

    def _request(self, size: int) -> "_Request":
        """A request for batches of one size, which reads from buffers of its own."""
        shapes = {spec.name: [size, *spec.shape[1:]] for spec in self._signature.inputs}
        compiled = _compiled(self._core, self._graph, self._properties, shapes)
        request, buffers = compiled.create_infer_request(), {}
        for spec in self._signature.inputs:
            port = compiled.input(spec.name)
            buffers[spec.name] = np.zeros(tuple(port.shape), np.dtype(spec.dtype))
            request.set_tensor(port, openvino.Tensor(buffers[spec.name], shared_memory=True))
        return request, buffers, _ports(compiled, self._signature.outputs)


def _requested(compiled: Any, outputs: Sequence[TensorSpec]) -> Model:
    """A model that was compiled for batches of any size, with a request of its own."""
    return partial(_run, compiled.create_infer_request(), _ports(compiled, outputs))


def _ports(compiled: Any, outputs: Sequence[TensorSpec]) -> "_Ports":
    return [(spec.name, compiled.output(spec.name)) for spec in outputs]


def _run(request: Any, ports: "_Ports", inputs: Arrays) -> dict[str, Array]:
    # The inputs are only read; the outputs are copied, because the request's own memory is used again.
    values = request.infer(dict(inputs), share_inputs=True, share_outputs=False)
    return {name: values[port] for name, port in ports}


def _read(core: Any, model: Path) -> Any:
    try:
        return core.read_model(model)
    except Exception as error:
        raise ModelUnusable(f"OpenVINO can't open it: {error}") from error


def _compiled(
    core: Any, graph: Any, properties: dict[str, Any], shapes: dict[str, list[int | None]] | None = None
) -> Any:
    """The graph compiled for inputs of these shapes, or of any."""
    try:
        if shapes:
            graph.reshape(shapes)
        return core.compile_model(graph, _CPU, properties)
    except Exception as error:
        raise ModelUnusable(f"OpenVINO can't compile it: {error}") from error


def _check_device(core: Any, device: Device, computed: str) -> None:
    if device.kind not in ("auto", "cpu"):
        raise ModelUnusable(f"device {device} can't run OpenVINO here; use runtime onnx, or device cpu")
    if computed == "bf16" and "BF16" not in core.get_property(_CPU, "OPTIMIZATION_CAPABILITIES"):
        raise DeviceUnavailable("this CPU does not compute in bf16")


def _properties(threads: int, computed: str) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if computed == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Pinned threads of several instances would sit on the same cores.
        "ENABLE_CPU_PINNING": False,
        "PERFORMANCE_HINT": "LATENCY",
    }


def _specs(ports: Sequence[Any]) -> list[TensorSpec]:
    """One spec for every name of every port: a port may have several."""
    return [
        TensorSpec(name=name, dtype=_dtype(port), shape=_shape(port.get_partial_shape()))
        for port in ports
        for name in port.get_names()
    ]


def _dtype(port: Any) -> str:
    name = str(port.get_element_type().get_type_name())
    return _DTYPES.get(name, name)


def _shape(shape: Any) -> tuple[int | None, ...]:
    if shape.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)
