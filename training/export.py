"""Writes a trained model as SavedModel and ONNX.

Owns the exported signature, which is the same in both formats: the inputs under their own names, uint8 pixels
[n, height, width, channels], any batch size; the outputs under the names of `training.asking`. A graph with an operator
that ONNX does not have is written as SavedModel only; `training.replay.formats_in` tells what is there. What explains
the answers stands apart, a file and a SavedModel signature of its own, because ONNX Runtime computes all of a file's
outputs whichever are asked for. Whether the files tell the truth is `training.parity`'s business. Called by
`training.publish`.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import onnx
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper

from bundle.manifest import Signature, TensorSpec
from training.asking import named, structured
from training.errors import ExportUnfaithful
from training.replay import EXPLAIN_FILE, EXPLAIN_SIGNATURE, PATHS
from training.scalars import give_scalars_their_rank

# The highest that tf2onnx translates without additions of its own: opset 18 brings one more Transpose.
_OPSET = 17
_OF_FOLDERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO)
"""What may be wrong with a folder or its disk, and never with a model."""


def export(
    model: keras.Model,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
    *,
    explaining: keras.Model | None = None,
) -> Signature:
    """Writes `saved_model.pb`, `variables/` and `model.onnx` into `folder`, and gives the signature they share.

    `explaining`, of `training.explain`, becomes the SavedModel's signature `explain` and the file `explain.onnx`. `say`
    is told why there is no ONNX file, where ONNX can't express the model. Raises ExportUnfaithful where there can't be
    a SavedModel either, OSError where the system says that the disk is full, a quota is used up or the folder may not
    be written.
    """
    served = _served(model)
    explained = None if explaining is None else _served(explaining)
    serve = _traced(served)
    explain = None if explained is None else _traced(explained)
    try:
        _write_saved_model(serve, folder, explain)
    except OSError:
        raise
    except Exception as error:  # Keras and TensorFlow raise whatever they like
        for code in _OF_FOLDERS:
            if os.strerror(code) in str(error):  # said by TensorFlow with the path of a temporary file
                raise OSError(code, os.strerror(code)) from error
        raise ExportUnfaithful(f"the model can't be exported: {error}") from error
    try:
        if explain is not None:
            _write_onnx(explain, folder / EXPLAIN_FILE)
        _write_onnx(serve, folder / PATHS["onnx"])
    except OSError:  # no fault of the model
        raise
    except Exception as error:  # the converter raises whatever it likes, too
        (folder / EXPLAIN_FILE).unlink(missing_ok=True)
        say(f"there is no ONNX file, only a SavedModel, because {_first_line(error)}")
    explanations = () if explained is None else _specs(explained.output)
    return Signature(inputs=_specs(served.input), outputs=_specs(served.output), explanations=explanations)


def _served(model: keras.Model) -> keras.Model:
    """The model in inference mode, with dicts of named inputs and outputs.

    `training=False` is said here because Keras's export does not: its image layers (random flips, crops, resizing)
    would stay active, and batch normalisation after them would use the batch's own statistics.
    """
    inputs = {
        tensor.name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name) for tensor in model.inputs
    }
    return keras.Model(inputs, named(model, model(structured(model, inputs), training=False)))


def _traced(served: keras.Model) -> Any:
    """The one graph that both formats are written from, as a tf.function of a dict."""
    specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name) for name, tensor in served.input.items()}
    return tf.function(lambda inputs: served(inputs, training=False), input_signature=[specs])


def _write_saved_model(serve: Any, folder: Path, explain: Any | None) -> None:
    # Not `served.export(folder)`: that stores every weight twice.
    serve.get_concrete_function()
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", serve)
    if explain is not None:
        explain.get_concrete_function()
        archive.add_endpoint(EXPLAIN_SIGNATURE, explain)
    archive.write_out(folder, verbose=False)


def _write_onnx(serve: Any, file: Path) -> None:
    """Raises where ONNX can't express the model; then there is no file."""
    # Not `served.export(file, format="onnx")`: constants that the graph captured would be left over as inputs.
    with _without_complaints("tf2onnx"):
        model, _ = tf2onnx.convert.from_function(serve, serve.input_signature, opset=_OPSET)
    _refuse_foreign_operators(model.graph)
    _fill_in(model.graph, {tensor.name: value for value, tensor in serve.get_concrete_function().graph.captures})
    # The converter calls the first dimension of each input and output something else.
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    give_scalars_their_rank(model)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _refuse_foreign_operators(graph: onnx.GraphProto) -> None:
    """The converter leaves what it can't translate as it is, and ends as if all were well."""
    foreign: dict[str, str] = {}
    for node in graph.node:
        if not onnx.defs.has(node.op_type, node.domain):
            foreign.setdefault(node.op_type, node.name)  # which names the Keras layer
    if foreign:
        operators = ", ".join(f"{operator} (at {place})" for operator, place in sorted(foreign.items()))
        raise ValueError(f"ONNX has no operator for {operators}")


def _fill_in(graph: onnx.GraphProto, captured: dict[str, Any]) -> None:
    """Turns inputs that are constants, such as those of a Normalization layer, into constants."""
    constants = [value for value in graph.input if value.name in captured]
    for value in constants:
        graph.initializer.append(numpy_helper.from_array(captured[value.name].numpy(), value.name))
        graph.input.remove(value)


@contextmanager
def _without_complaints(name: str) -> Iterator[None]:
    """What the converter logs for each node, its refusal says in one sentence."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _specs(tensors: dict[str, keras.KerasTensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, dtype=tensor.dtype, shape=tuple(tensor.shape)) for name, tensor in tensors.items()
    )
