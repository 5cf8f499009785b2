"""Which device a runtime is opened on, and what that means for each engine.

Owns the text form ("auto", "cpu", "cuda", "cuda:1", "tensorrt") and the choice of ONNX Runtime's execution providers.
The invariant: a device that was asked for is used or its absence is an error; only "auto" may end on the CPU. All of it
is pure, so that the choice is tested without an accelerator. Read by the settings, by `opening` and by both runtimes.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self, cast

from service.errors import DeviceUnavailable, ModelUnusable, SettingsError

Kind = Literal["auto", "cpu", "cuda", "tensorrt"]
Provider = tuple[str, dict[str, str]]

_logger = logging.getLogger(__name__)

ALLOWED: Final = "auto, cpu, cuda, cuda:N, tensorrt or tensorrt:N"

_FORM: Final = re.compile(r"(auto|cpu)|(cuda|tensorrt)(?::([0-9]{1,3}))?")
_PROVIDER_NAMES: Final[dict[Kind, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True, slots=True)
class Device:
    """A device as a user names it; `Device.parse(str(device)) == device`. `index` counts the accelerators from 0."""

    kind: Kind = "auto"
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads "auto", "cpu", "cuda", "cuda:N", "tensorrt" or "tensorrt:N". Raises SettingsError."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise SettingsError(f"device {text!r} is not known; it is one of {ALLOWED}, where N counts from 0")
        plain, accelerator, index = match.groups()
        return cls(cast("Kind", plain or accelerator), int(index or 0))

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.kind in ("cuda", "tensorrt") else self.kind


def onnx_device(device: Device, available: Sequence[str]) -> Device:
    """The device that ONNX Runtime is to use where these execution providers are installed.

    "auto" becomes CUDA where its provider is installed, else the CPU. Raises DeviceUnavailable for an accelerator whose
    provider is not installed.
    """
    if device.kind == "auto":
        return Device("cuda" if _PROVIDER_NAMES["cuda"] in available else "cpu")
    if device.kind != "cpu" and _PROVIDER_NAMES[device.kind] not in available:
        raise DeviceUnavailable(
            f"device {device} was asked for, but this ONNX Runtime has only {', '.join(available)}; "
            "install onnxruntime-gpu[cuda,cudnn] in place of onnxruntime, or use device cpu"
        )
    return device


def usable_device(wanted: Device, available: Sequence[str], probe: Callable[[Device], None]) -> Device:
    """As `onnx_device`, where besides `probe` must not raise DeviceUnavailable for an accelerator; "auto" may end on
    the CPU by that too, and says so in the log.
    """
    device = onnx_device(wanted, available)
    if device.kind == "cpu":
        return device
    try:
        probe(device)
    except DeviceUnavailable as error:
        if wanted.kind != "auto":
            raise
        _logger.warning("device auto goes on with the cpu: %s", error)
        return Device("cpu")
    return device


def onnx_providers(device: Device, available: Sequence[str]) -> list[Provider]:
    """ONNX Runtime's execution providers with their options for a device, the one that must run the model first.

    The CPU provider always comes last: it runs the few nodes that compute shapes. Raises DeviceUnavailable.
    """
    device = onnx_device(device, available)
    cpu: Provider = (_PROVIDER_NAMES["cpu"], {})
    if device.kind == "cpu":
        return [cpu]
    cuda: Provider = (_PROVIDER_NAMES["cuda"], _cuda_options(device.index))
    if device.kind == "cuda":
        return [cuda, cpu]
    return [(_PROVIDER_NAMES["tensorrt"], {"device_id": str(device.index)}), cuda, cpu]


def check_provider(device: Device, providers: Sequence[str]) -> None:
    """Checks that an open session really runs on its device: ONNX Runtime falls back to the CPU without an error.

    `device` is not "auto"; `providers` is what the session reports. Raises DeviceUnavailable.
    """
    wanted = _PROVIDER_NAMES[device.kind]
    if not providers or providers[0] != wanted:
        raise unusable(device, f"it could not start {wanted} and fell back to {', '.join(providers) or 'nothing'}")


def unusable(device: Device, problem: str) -> DeviceUnavailable:
    """That ONNX Runtime has the device's provider and still can't use the device."""
    return DeviceUnavailable(
        f"device {device} was asked for, but ONNX Runtime can't use it: {problem}; check the driver and the CUDA and "
        "cuDNN libraries (onnxruntime-gpu[cuda,cudnn] brings these), or use device cpu"
    )


def tensorflow_device(device: Device, gpus: int) -> Device:
    """The device that TensorFlow is to use where it sees this many GPUs.

    Raises DeviceUnavailable, or ModelUnusable for TensorRT: models beside this one can run on it.
    """
    if device.kind == "auto":
        return Device("cuda" if gpus else "cpu")
    if device.kind == "tensorrt":
        raise ModelUnusable(f"device {device} needs an ONNX variant and runtime onnx; TensorFlow runs on cpu or cuda")
    if device.kind == "cuda" and device.index >= gpus:
        raise DeviceUnavailable(
            f"device {device} was asked for, but TensorFlow sees {gpus or 'no'} GPU{'s' * (gpus != 1)}; check the "
            "driver and that tensorflow[and-cuda] is installed, or use device cpu"
        )
    return device


def _cuda_options(index: int) -> dict[str, str]:
    return {
        "device_id": str(index),
        # TF32 rounds fp32 products to 10 bits, which the golden samples of an fp32 variant would refuse.
        "use_tf32": "0",
        # The default times every algorithm for every new batch size, which a dynamic batcher would pay again and again.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Grow by what is needed: several models share one device.
        "arena_extend_strategy": "kSameAsRequested",
    }
