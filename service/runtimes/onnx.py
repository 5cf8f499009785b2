"""Runs an ONNX variant with ONNX Runtime.

Owns the session and its options. The invariant: the session runs on the device that was asked for, with exactly the
threads that were asked for, and fits the manifest's signature, or it is not opened. Which device that is, the first one
opened settles for the process: a model that does not fit the accelerator is never moved to the CPU. Opened by
`opening.open_runtime`; importing this module imports onnxruntime, never tensorflow.
"""

import contextlib
import io
import logging
import os
import threading
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

# From 1.29 the official builds send usage data unless this stands before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime

from bundle.manifest import Signature, TensorSpec
from service.errors import DeviceUnavailable, ModelUnusable
from service.runtimes.base import Array, Arrays, RuntimeInfo
from service.runtimes.devices import (
    Device,
    check_provider,
    onnx_device,
    onnx_providers,
    unusable,
    usable_device,
)
from service.runtimes.models import Models
from service.runtimes.signature import check_explanations, check_signature

_logger = logging.getLogger(__name__)

_ERRORS_ONLY: Final = 3
# Before 1.32 it gives wrong results for a zero pad in front of a max pool of negatives: microsoft/onnxruntime#24737.
# Only there is it off: it spares MobileNetV2 at 224 a quarter of its run.
_WRONG_OPTIMIZERS: Final = ["Pad_Fusion"]
_RIGHT_SINCE: Final = (1, 32)
# y = Relu(x) for one float, opset 17, as ONNX serializes it: an accelerator that can't run this runs nothing.
_PROBE: Final = (
    b'\x08\x08:7\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x05probe'
    b"Z\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
_settling = threading.Lock()
# The types whose ONNX names differ from NumPy's.
_DTYPES: Final = {"float": "float32", "double": "float64"}


class OnnxRuntime:
    """One ONNX Runtime session. Called from one thread at a time."""

    def __init__(
        self,
        model: Path,
        signature: Signature,
        *,
        variant: str,
        device: Device,
        threads: int,
        explain: Path | None = None,
    ) -> None:
        """Opens the file at `model`, and the one at `explain` that gives the explanations.

        They are two because ONNX Runtime runs every node of a graph, whichever outputs are asked for
        (microsoft/onnxruntime#16483). Raises DeviceUnavailable, or ModelUnusable where a file does not fit.
        """
        device = settled(device)
        session = _open_session(model, device, threads)
        check_signature(signature, _specs(session.get_inputs()), _specs(session.get_outputs()))
        explaining = None
        if explain is not None:
            second = _open_session(explain, device, threads)
            check_explanations(signature, _specs(second.get_inputs()), _specs(second.get_outputs()))
            explaining = partial(_run, second, [spec.name for spec in signature.explanations])
        answering = partial(_run, session, [spec.name for spec in signature.outputs])
        self._models = Models("ONNX Runtime", variant, answering, explaining)
        self.info = RuntimeInfo(f"onnxruntime {onnxruntime.__version__}", variant, str(device), threads)

    def run(self, inputs: Arrays, *, explain: bool = False) -> dict[str, Array]:
        """Runs one batch. Raises RuntimeFailed with ONNX Runtime's own words."""
        return self._models.run(inputs, explain=explain)

    def close(self) -> None:
        """Gives the sessions' memory back."""
        self._models.close()


def check_device(device: Device) -> None:
    """Raises DeviceUnavailable where the installed ONNX Runtime has no provider for the device."""
    onnx_device(device, onnxruntime.get_available_providers())


def _run(session: Any, names: Sequence[str], inputs: Arrays) -> dict[str, Array]:
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def settled(wanted: Device) -> Device:
    """The device that this process uses where `wanted` is asked for, never "auto"; the first call finds out.

    Raises DeviceUnavailable.
    """
    with _settling:
        return _settled(wanted)


@cache
def _settled(wanted: Device) -> Device:
    return usable_device(wanted, onnxruntime.get_available_providers(), _probe)


def _probe(device: Device) -> None:
    """Runs a graph of one node on an accelerator. Raises DeviceUnavailable where even that fails."""
    # TensorRT has no other switch (microsoft/onnxruntime#26029), and it is read once; CUDA has `use_tf32` too.
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    try:
        _preload_libraries()
        session = _create_session(_PROBE, device, threads=1)
        check_provider(device, session.get_providers())
        session.run(None, {"x": np.ones(1, np.float32)})
    except DeviceUnavailable:
        raise
    except Exception as error:
        raise unusable(device, str(error)) from error


def _open_session(model: Path, device: Device, threads: int) -> Any:
    """A session on a device that was settled. Raises ModelUnusable: whatever fails now is this model's business."""
    try:
        session = _create_session(model, device, threads)
        check_provider(device, session.get_providers())
    except Exception as error:
        if device.kind == "cpu":
            raise ModelUnusable(f"ONNX Runtime can't open it: {error}") from error
        raise ModelUnusable(
            f"ONNX Runtime can't open it on device {device}, and it is not moved to the CPU: {error}; where the "
            "device's memory is full, serve fewer models, versions or --instances on it, or this one with --device cpu"
        ) from error
    return session


def _create_session(model: Path | bytes, device: Device, threads: int) -> Any:
    return onnxruntime.InferenceSession(
        model,
        sess_options=_session_options(threads),
        providers=onnx_providers(device, onnxruntime.get_available_providers()),
        disabled_optimizers=_WRONG_OPTIMIZERS if _release(onnxruntime.__version__) < _RIGHT_SINCE else None,
        # The Python wrapper's own second try prints to stdout, takes the CPU and forgets disabled_optimizers.
        enable_fallback=0,
    )


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number of a version."""
    return tuple(int(number) for number in version.split(".")[:2])


def _session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads burn the cores that decoding and the transport need, and collapse when a container's quota is
    # smaller than its thread count.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A memory plan is kept for each batch size that was ever seen. With a dynamic batcher's sizes that only costs: a
    # CNN of three layers at 160 x 160 in batches of 1 to 32 took 495 MB with plans and 319 MB without, no slower. The
    # arena stays on: without it the same run took 156 MB but 40% more CPU. It keeps what the largest batch needed.
    options.enable_mem_pattern = False
    options.log_severity_level = _ERRORS_ONLY
    return options


def _preload_libraries() -> None:
    """Makes the CUDA and cuDNN libraries that pip installed findable; what it prints belongs in the log."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        onnxruntime.preload_dlls()
    for line in filter(None, printed.getvalue().splitlines()):
        _logger.warning("onnxruntime: %s", line)


def _specs(nodes: Sequence[Any]) -> list[TensorSpec]:
    return [TensorSpec(name=node.name, dtype=_dtype(node.type), shape=_shape(node.shape)) for node in nodes]


def _dtype(onnx_type: str) -> str:
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(name, name)


def _shape(sizes: Sequence[int | str | None]) -> tuple[int | None, ...]:
    """ONNX Runtime gives a name or None for a size that the graph leaves open."""
    return tuple(size if isinstance(size, int) else None for size in sizes)
