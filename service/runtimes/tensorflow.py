"""Runs a SavedModel variant with TensorFlow, through its signature `serving_default` and the one that explains.

Owns TensorFlow's process-wide switches: threads, visible GPUs, memory growth. They are settled by the first runtime
opened, because TensorFlow refuses changes once it has started; `info` always tells what is really in force. Importing
this module does not import tensorflow; `opening.open_runtime` does when it needs it.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bundle.manifest import Signature, TensorSpec
from service.errors import ModelUnusable, RuntimeFailed
from service.runtimes.base import Array, Arrays, RuntimeInfo
from service.runtimes.devices import Device, tensorflow_device
from service.runtimes.signature import check_explanations, check_signature
from service.runtimes.usable import usable_cores

_logger = logging.getLogger(__name__)

_SIGNATURE: Final = "serving_default"


def import_tensorflow() -> Any:
    """The tensorflow module, with its log level at errors unless the user set it. Raises ImportError.

    It still says a few things about the machine on standard error, before it reads that level.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read once, at import; there is no other switch
    import tensorflow as tf

    return tf


class TensorFlowRuntime:
    """One loaded SavedModel. Called from one thread at a time."""

    def __init__(
        self,
        tensorflow: Any,
        model: Path,
        signature: Signature,
        *,
        variant: str,
        device: Device,
        threads: int,
        explain: str | None = None,
    ) -> None:
        """Loads the folder `model`, whose signature `explain` gives the explanations.

        Raises DeviceUnavailable, or ModelUnusable where it does not fit the signature.
        """
        self._tensorflow = tensorflow
        threads = _settle_threads(tensorflow, threads)
        device = _settle_device(tensorflow, device)
        self._place = f"/GPU:{device.index}" if device.kind == "cuda" else "/CPU:0"
        self._model = self._load(model)  # kept, because the function holds its variables only weakly
        self._function = _function(self._model, _SIGNATURE)
        check_signature(signature, *_takes_and_gives(self._function))
        self._outputs = [spec.name for spec in signature.outputs]
        self._explaining = None
        if explain is not None:
            self._explaining = _function(self._model, explain)
            check_explanations(signature, *_takes_and_gives(self._explaining))
        self._explanations = [spec.name for spec in signature.explanations]
        self.info = RuntimeInfo(f"tensorflow {tensorflow.__version__}", variant, str(device), threads)

    def run(self, inputs: Arrays, *, explain: bool = False) -> dict[str, Array]:
        """Runs one batch. Raises RuntimeFailed with TensorFlow's own words."""
        outputs = self._run(self._function, self._outputs, inputs)
        if explain:
            outputs |= self._run(self._explaining, self._explanations, inputs)
        return outputs

    def close(self) -> None:
        """Lets go of the model and its variables."""
        self._function = self._explaining = None
        self._model = None

    def _run(self, function: Any, names: list[str], inputs: Arrays) -> dict[str, Array]:
        if function is None:
            raise RuntimeFailed(f"variant {self.info.variant!r} is closed")
        try:
            with self._tensorflow.device(self._place):
                outputs = function(**{name: self._tensorflow.constant(value) for name, value in inputs.items()})
            return {name: outputs[name].numpy() for name in names}
        except Exception as error:
            raise RuntimeFailed(f"TensorFlow failed on variant {self.info.variant!r}: {error}") from error

    def _load(self, model: Path) -> Any:
        try:
            with self._tensorflow.device(self._place):
                return self._tensorflow.saved_model.load(str(model))
        except Exception as error:
            raise ModelUnusable(f"TensorFlow can't load it: {error}") from error


def _function(model: Any, signature: str) -> Any:
    if signature not in model.signatures:
        raise ModelUnusable(f"the SavedModel has no signature {signature!r}, it has {sorted(model.signatures)}")
    return model.signatures[signature]


def _takes_and_gives(function: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:
    return _specs(function.structured_input_signature[1]), _specs(function.structured_outputs)


def _settle_threads(tensorflow: Any, threads: int) -> int:
    """Sets the threads of one run, or tells the number that TensorFlow has already started with."""
    threading = tensorflow.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        running = threading.get_intra_op_parallelism_threads() or usable_cores()
        if running != threads:
            _logger.warning("TensorFlow runs with %d threads since it started, %d were asked for", running, threads)
        return int(running)
    return threads


def _settle_device(tensorflow: Any, device: Device) -> Device:
    """The device to run on. The GPU's memory is taken as it is needed, or not at all where the CPU was asked for."""
    config = tensorflow.config
    gpus = config.list_physical_devices("GPU")
    device = tensorflow_device(device, len(gpus))
    try:
        if device.kind == "cpu":
            config.set_visible_devices([], "GPU")
        for gpu in gpus if device.kind == "cuda" else ():
            config.experimental.set_memory_growth(gpu, enable=True)
    except RuntimeError as error:
        _logger.debug("TensorFlow has started already, its GPU settings stay: %s", error)
    return device


def _specs(tensors: Mapping[str, Any]) -> list[TensorSpec]:
    return [
        TensorSpec(
            name=name,
            dtype=tensor.dtype.name,
            shape=() if tensor.shape.rank is None else tuple(tensor.shape.as_list()),
        )
        for name, tensor in tensors.items()
    ]
