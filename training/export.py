"""Writes a trained model as SavedModel and ONNX.

Owns the exported signature, which is the same in both formats: the inputs under their own names, uint8 pixels
[n, height, width, channels], any batch size; the outputs under the names of `training.asking`. Whether the files tell
the truth is `training.parity`'s business. Called by `training.publish`.
"""

import warnings
from pathlib import Path

import keras
import onnx

from bundle.manifest import Signature, TensorSpec
from training.asking import named, structured
from training.errors import ExportUnfaithful
from training.replay import PATHS

# The highest that tf2onnx translates without additions of its own: opset 18 brings one more Transpose.
_OPSET = 17


def export(model: keras.Model, folder: Path) -> Signature:
    """Writes `saved_model.pb`, `variables/` and `model.onnx` into `folder`, and gives the signature they share.

    Raises ExportUnfaithful where a format can't express the model.
    """
    served = _served(model)
    try:
        _write_saved_model(served, folder)
        _write_onnx(served, folder / PATHS["onnx"])
    except Exception as error:  # the converters raise whatever they like
        raise ExportUnfaithful(f"the model can't be exported: {error}") from error
    return Signature(inputs=_specs(served.input), outputs=_specs(served.output))


def _served(model: keras.Model) -> keras.Model:
    """The model in inference mode, with dicts of named inputs and outputs.

    `training=False` is said here because Keras's export does not: its image layers (random flips, crops, resizing)
    would stay active, and batch normalisation after them would use the batch's own statistics.
    """
    inputs = {
        tensor.name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name) for tensor in model.inputs
    }
    return keras.Model(inputs, named(model, model(structured(model, inputs), training=False)))


def _write_saved_model(served: keras.Model, folder: Path) -> None:
    # Not `served.export(folder)`: that stores every weight twice.
    archive = keras.export.ExportArchive()
    specs = {
        name: keras.InputSpec(dtype=tensor.dtype, shape=tensor.shape, name=name)
        for name, tensor in served.input.items()
    }
    archive.add_endpoint("serve", lambda inputs: served(inputs, training=False), input_signature=[specs])
    archive.write_out(folder, verbose=False)


def _write_onnx(served: keras.Model, file: Path) -> None:
    with warnings.catch_warnings():
        # Keras 3.15 looks for an attribute that NumPy 2 warns about.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        served.export(file, format="onnx", opset_version=_OPSET, verbose=False)
    _name_the_batch(file)


def _name_the_batch(file: Path) -> None:
    """The first dimension of every input and output gets the name "batch"; the converter calls each something else."""
    model = onnx.load(file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _specs(tensors: dict[str, keras.KerasTensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, dtype=tensor.dtype, shape=tuple(tensor.shape)) for name, tensor in tensors.items()
    )
