"""Runs an ONNX variant with OpenVINO on the CPU.

Owns the compiled model and its properties. The invariant: arithmetic, threads, streams and device are all told, never
left to OpenVINO's defaults, which would compute in bf16 wherever the CPU can. Opened by `opening.open_runtime`;
importing this module imports openvino.
"""

import importlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from bundle.manifest import Signature, TensorSpec
from service.errors import DeviceUnavailable, ModelUnusable
from service.runtimes.base import Array, Arrays, RuntimeInfo
from service.runtimes.devices import Device
from service.runtimes.models import Model, Models
from service.runtimes.signature import check_explanations, check_signature

# The model converter: needs more than twice openvino's own time to import, and sends usage data when it is.
_CONVERTER: Final = "openvino.tools.ovc"
_CPU: Final = "CPU"
_DTYPES: Final = {
    "boolean": "bool",
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
}


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
    """One compiled model with one request. Called from one thread at a time."""

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
        """Compiles the file at `model`; `computed` "exact" means fp32 for what the graph has in fp32.

        The one at `explain`, which gives the explanations, is always computed exactly.

        Raises DeviceUnavailable for anything but the CPU and for bf16 on a CPU without it, or ModelUnusable where the
        file does not fit.
        """
        core = openvino.Core()
        _check_device(core, device, computed)
        compiled = _compiled(core, model, _properties(threads, computed))
        check_signature(signature, _specs(compiled.inputs), _specs(compiled.outputs))
        explaining = None
        if explain is not None:
            second = _compiled(core, explain, _properties(threads, "exact"))
            check_explanations(signature, _specs(second.inputs), _specs(second.outputs))
            explaining = _requested(second, signature.explanations)
        self._models = Models("OpenVINO", variant, _requested(compiled, signature.outputs), explaining)
        engine = f"openvino {openvino.get_version().partition('-')[0]}"
        self.info = RuntimeInfo(
            engine if computed == "exact" else f"{engine} ({computed})", variant, Device("cpu").kind, threads
        )

    def run(self, inputs: Arrays, *, explain: bool = False) -> dict[str, Array]:
        """Runs one batch. Raises RuntimeFailed with OpenVINO's own words."""
        return self._models.run(inputs, explain=explain)

    def close(self) -> None:
        """Gives the compiled models' memory back."""
        self._models.close()


def _requested(compiled: Any, outputs: Sequence[TensorSpec]) -> Model:
    """The compiled model with a request of its own."""
    ports = [(spec.name, compiled.output(spec.name)) for spec in outputs]
    return partial(_run, compiled.create_infer_request(), ports)


def _run(request: Any, ports: Sequence[tuple[str, Any]], inputs: Arrays) -> dict[str, Array]:
    # The inputs are only read; the outputs are copied, because the request's own memory is used again.
    values = request.infer(dict(inputs), share_inputs=True, share_outputs=False)
    return {name: values[port] for name, port in ports}


def _compiled(core: Any, model: Path, properties: dict[str, Any]) -> Any:
    try:
        return core.compile_model(model, _CPU, properties)
    except Exception as error:
        raise ModelUnusable(f"OpenVINO can't open it: {error}") from error


def _check_device(core: Any, device: Device, computed: str) -> None:
    if device.kind not in ("auto", "cpu"):
        raise DeviceUnavailable(f"device {device} can't run OpenVINO here; use runtime onnx, or device cpu")
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
