"""Writes a trained model as SavedModel and ONNX.

Owns the exported signature: uint8 pixels [n, height, width, channels] under the name `image`, any batch size,
probabilities under the name `probabilities`, the same in both formats. Whether the files tell the truth is
`training.parity`'s business. Called by `training.publish`.
"""

import warnings
from pathlib import Path

import keras
import onnx

from bundle.manifest import Signature, TensorSpec
from training.errors import ExportUnfaithful
from training.replay import ONNX_FILE
from training.scalars import give_scalars_their_rank

INPUT = "image"
OUTPUT = "probabilities"

# The highest that tf2onnx translates without additions of its own: opset 18 brings one more Transpose.
_OPSET = 17


def export(model: keras.Model, folder: Path) -> Signature:
    """Writes `saved_model.pb`, `variables/` and `model.onnx` into `folder`, and gives the signature they share.

    `model` has one input of pixels and one output of probabilities. Raises ExportUnfaithful where a format can't
    express the model.
    """
    served = _served(model)
    try:
        _write_saved_model(served, folder)
        _write_onnx(served, folder / ONNX_FILE)
    except Exception as error:  # the converters raise whatever they like
        raise ExportUnfaithful(f"the model can't be exported: {error}") from error
    return _signature(served)


def _served(model: keras.Model) -> keras.Model:
    """The model in inference mode, with named input and output.

    `training=False` is said here because Keras's export does not: its image layers (random flips, crops, resizing)
    would stay active, and batch normalisation after them would use the batch's own statistics.
    """
    (declared,) = model.inputs
    pixels = keras.Input(declared.shape[1:], dtype=declared.dtype, name=INPUT)
    return keras.Model(pixels, {OUTPUT: model(pixels, training=False)})


def _write_saved_model(served: keras.Model, folder: Path) -> None:
    # Not `served.export(folder)`: that stores every weight twice.
    archive = keras.export.ExportArchive()
    spec = keras.InputSpec(dtype=served.input.dtype, shape=served.input.shape, name=INPUT)
    archive.add_endpoint("serve", lambda pixels: served(pixels, training=False), input_signature=[spec])
    archive.write_out(folder, verbose=False)


def _write_onnx(served: keras.Model, file: Path) -> None:
    with warnings.catch_warnings():
        # Keras 3.15 looks for an attribute that NumPy 2 warns about.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        served.export(file, format="onnx", opset_version=_OPSET, verbose=False)
    _finish_graph(file)


def _finish_graph(file: Path) -> None:
    """The first dimension of every input and output gets the name "batch": the converter calls each something else."""
    model = onnx.load(file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    give_scalars_their_rank(model)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _signature(served: keras.Model) -> Signature:
    pixels, scores = served.input, served.output[OUTPUT]
    return Signature(
        inputs=(TensorSpec(name=INPUT, dtype=pixels.dtype, shape=tuple(pixels.shape)),),
        outputs=(TensorSpec(name=OUTPUT, dtype=scores.dtype, shape=tuple(scores.shape)),),
    )
