"""Chooses a bundle's variant and engine and opens the runtime: the one way by which a runtime comes to be.

The invariant: an engine is imported only when it is the one chosen, so serving an ONNX bundle never imports tensorflow.
Called by `service.models` while a version loads, by batch jobs and by `convoy verify`.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from bundle.manifest import Variant
from bundle.store import Bundle
from service.errors import DeviceUnavailable, ModelUnusable, SettingsError
from service.runtimes.base import Runtime
from service.runtimes.devices import Device
from service.runtimes.usable import usable_cores

Engine = Literal["auto", "onnx", "openvino", "tensorflow"]
# The arithmetic of a run: as the variant has it, or its fp32 parts in bf16 (OpenVINO, on CPUs that can).
Computed = Literal["exact", "bf16"]

# What each engine runs, the preferred first.
_FORMATS: Final[dict[Engine, tuple[str, ...]]] = {
    "auto": ("onnx", "saved_model"),
    "onnx": ("onnx",),
    "openvino": ("onnx",),
    "tensorflow": ("saved_model",),
}


def open_runtime(
    bundle: Bundle,
    *,
    engine: Engine,
    device: Device,
    threads: int,
    variant: str | None = None,
    computed: Computed = "exact",
    explain: bool = False,
) -> Runtime:
    """Opens one variant of a bundle on a device with `threads` threads for one run; 0 takes all usable cores.

    `computed` "bf16" is for engine "openvino" only. With `explain` the runtime can give the variant's explanations, if
    it has any; those of an ONNX variant take the memory of a second model.

    Raises ModelUnusable where the bundle has no such variant or the variant does not fit its manifest,
    DeviceUnavailable where the device is not there, SettingsError where the engine is not installed.
    """
    if threads < 0:
        raise SettingsError(f"threads is {threads}, it must be at least 0; 0 takes all usable cores")
    if computed != "exact" and engine != "openvino":
        raise SettingsError(f"engine {engine} does not compute in {computed}; openvino does")
    chosen = choose_variant(bundle.manifest.variants, engine, variant)
    try:
        asked = chosen if explain else msgspec.structs.replace(chosen, explain=None)
        if engine == "openvino":
            return _open_openvino(bundle, asked, device, threads or usable_cores(), computed)
        return _OPENERS[chosen.format](bundle, asked, device, threads or usable_cores())
    except ModelUnusable as error:
        raise ModelUnusable(f"variant {chosen.name!r}: {error}") from error


def check_device(engine: Engine, device: Device) -> None:
    """Raises DeviceUnavailable for a device that can't be had, as far as that shows without a model."""
    never = {"openvino": ("cuda", "tensorrt"), "tensorflow": ("tensorrt",)}
    if device.kind in never.get(engine, ()):
        raise DeviceUnavailable(
            f"device {device} can't be used by engine {engine}; use runtime onnx, or another device"
        )
    if engine in ("auto", "onnx"):
        from service.runtimes import onnx

        onnx.check_device(device)


def choose_variant(variants: Sequence[Variant], engine: Engine, name: str | None = None) -> Variant:
    """The variant of that name, or the first, in the manifest's order, that the engine runs; "auto" prefers ONNX.

    Raises ModelUnusable, which names the variants that there are.
    """
    fitting = [variant for variant in variants if name in (None, variant.name)]
    for wanted in _FORMATS[engine]:
        for variant in fitting:
            if variant.format == wanted:
                return variant
    has = ", ".join(f"{variant.name} ({variant.format})" for variant in variants)
    asked = f"variant {name!r}" if name else "variant"
    raise ModelUnusable(f"there is no {asked} that engine {engine} runs; the bundle has {has}")


def _open_onnx(bundle: Bundle, variant: Variant, device: Device, threads: int) -> Runtime:
    try:
        from service.runtimes.onnx import OnnxRuntime
    except ImportError as error:
        raise _not_installed("ONNX Runtime", "service", error) from error
    return OnnxRuntime(
        bundle.path / variant.path,
        bundle.manifest.signature,
        variant=variant.name,
        device=device,
        threads=threads,
        explain=bundle.path / variant.explain if variant.explain else None,
    )


def _open_openvino(bundle: Bundle, variant: Variant, device: Device, threads: int, computed: Computed) -> Runtime:
    try:
        from service.runtimes.openvino import OpenVinoRuntime
    except ImportError as error:
        raise _not_installed("OpenVINO", "openvino", error) from error
    return OpenVinoRuntime(
        bundle.path / variant.path,
        bundle.manifest.signature,
        variant=variant.name,
        device=device,
        threads=threads,
        computed=computed,
        explain=bundle.path / variant.explain if variant.explain else None,
    )


def _open_tensorflow(bundle: Bundle, variant: Variant, device: Device, threads: int) -> Runtime:
    from service.runtimes.tensorflow import TensorFlowRuntime, import_tensorflow

    try:
        tensorflow = import_tensorflow()
    except ImportError as error:
        raise _not_installed("TensorFlow", "tensorflow", error) from error
    return TensorFlowRuntime(
        tensorflow,
        bundle.path / variant.path,
        bundle.manifest.signature,
        variant=variant.name,
        device=device,
        threads=threads,
        explain=variant.explain,
    )


def _not_installed(engine: str, extra: str, error: ImportError) -> SettingsError:
    return SettingsError(f'{engine} is not installed ({error}); in a checkout of Convoy run: pip install ".[{extra}]"')


_OPENERS: Final = {"onnx": _open_onnx, "saved_model": _open_tensorflow}
