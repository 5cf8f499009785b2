"""Runs an exported file in a process of its own, as a server would: nothing of Keras or of the training run is there.

`python replay.py FORMAT FOLDER REQUEST.npz REPLY.npz` reads the input arrays and the batch sizes from the request and
writes every output, with every explanation where it is told to, for every batch size. It imports only the runtime of
the format, and nothing of this project, so it runs from anywhere. `training.parity` starts it; `training.evaluate` uses
it in the process.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
Run = Callable[[Arrays], Arrays]

# What the request says beside the inputs, whose own names stand behind `input/`.
BATCH_SIZES = "batch_sizes"
EXPLAIN = "explain"
_INPUT = "input/"
# What each format is within a version's folder; the SavedModel is the folder itself, as TensorFlow Serving expects it.
PATHS = {"onnx": "model.onnx", "saved_model": "."}
# What gives the explanations beside each format, where there are any.
EXPLAIN_FILE = "explain.onnx"
EXPLAIN_SIGNATURE = "explain"
_FILES = {"onnx": "model.onnx", "saved_model": "saved_model.pb"}


def formats_in(folder: Path) -> tuple[str, ...]:
    """The formats that were exported into the folder, the preferred first."""
    return tuple(name for name, file in _FILES.items() if (folder / file).is_file())


def open_format(name: str, folder: Path) -> Run:
    """Opens a format in its runtime, on the CPU where there is a choice."""
    return OPENERS[name](folder / PATHS[name])


def open_onnx(file: Path) -> Run:
    """Opens an ONNX file in ONNX Runtime on the CPU."""
    import onnxruntime

    # Up to 1.31 Pad_Fusion gives wrong numbers for a zero pad before a max pool (microsoft/onnxruntime#24737).
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: it warns of weights that its own optimiser made superfluous
    session = onnxruntime.InferenceSession(
        file, options, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def open_saved_model(folder: Path, name: str = "serving_default") -> Run:
    """Opens one signature of the SavedModel in TensorFlow."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures[name]

    def run(inputs: Arrays, _keep_alive: object = loaded) -> Arrays:
        outputs = signature(**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return run


OPENERS: dict[str, Callable[[Path], Run]] = {"onnx": open_onnx, "saved_model": open_saved_model}


def open_explanations(name: str, folder: Path) -> Run:
    """Opens what explains a format's answers."""
    if name == "saved_model":
        return open_saved_model(folder / PATHS[name], EXPLAIN_SIGNATURE)
    return open_onnx(folder / EXPLAIN_FILE)


def in_batches(run: Run, inputs: Arrays, batch_size: int) -> Arrays:
    """Runs all rows, `batch_size` at a time; the last batch may be smaller."""
    rows = len(next(iter(inputs.values())))
    batches = [
        run({name: array[start : start + batch_size] for name, array in inputs.items()})
        for start in range(0, rows, batch_size)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def write_arrays(file: str | Path, arrays: Arrays) -> None:
    np.savez(file, allow_pickle=False, **arrays)


def input_key(name: str) -> str:
    """The name of an input's array in the request: models may call an input what they like."""
    return f"{_INPUT}{name}"


def reply_key(output: str, batch_size: int) -> str:
    """The name of an output's array in the reply."""
    return f"{batch_size}/{output}"


def main(export_format: str, folder: str, request: str, reply: str) -> None:
    with np.load(request) as arrays:
        asked = dict(arrays)
    inputs = {key.removeprefix(_INPUT): array for key, array in asked.items() if key.startswith(_INPUT)}
    batch_sizes = [int(size) for size in asked[BATCH_SIZES]]
    opened = [open_format(export_format, Path(folder))]
    if asked[EXPLAIN].any():
        opened.append(open_explanations(export_format, Path(folder)))
    outputs = {
        reply_key(name, size): array
        for run in opened
        for size in batch_sizes
        for name, array in in_batches(run, inputs, size).items()
    }
    write_arrays(reply, outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
