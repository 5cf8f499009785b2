"""Opens a model by what its path is: the one way by which an `Original` comes to be.

The library of a format is imported only for that format, so a mistake in a path is said at once. Called by `publish`.
"""

from collections.abc import Sequence
from pathlib import Path

from training.errors import ConfigInvalid, ModelUnreadable
from training.foreign.original import Original

_KERAS = {".keras", ".h5", ".hdf5"}
_ELSEWHERE = {
    ".pb": "give the folder that it is in",
    ".pt": "export it with torch.onnx.export(..., dynamic_axes=...) and publish the .onnx file",
    ".pth": "export it with torch.onnx.export(..., dynamic_axes=...) and publish the .onnx file",
    ".tflite": "publish the Keras model or SavedModel that it was made of",
}


def check_path(path: Path) -> None:
    """Raises ModelUnreadable where the path can't be a model, before any library is loaded."""
    if not path.exists():
        raise ModelUnreadable(f"{path}: there is no such file or folder; check the path")
    if path.is_dir() or path.suffix in _KERAS | {".onnx"}:
        return
    remedy = _ELSEWHERE.get(path.suffix, "give a .keras, .h5 or .onnx file or a SavedModel's folder")
    raise ModelUnreadable(f"{path}: this is not a kind of model that can be read; {remedy}")


def needs_tensorflow(path: Path) -> bool:
    """Whether TensorFlow, whose start takes seconds, has to be started before `read`."""
    return path.suffix != ".onnx"


def read(path: Path, custom: Sequence[str] = ()) -> Original:
    """The model at the path; `custom` names classes of the user's own, for Keras. Raises ModelUnreadable."""
    check_path(path)
    if custom and path.suffix not in _KERAS:
        raise ConfigInvalid(f"--custom is for Keras files, and {path} is none; leave it out")
    if path.is_dir():
        from training.foreign import saved_model

        return saved_model.read(path)
    if path.suffix == ".onnx":
        from training.foreign import onnx_file

        return onnx_file.read(path)
    from training.foreign import keras_file

    return keras_file.read(path, custom)
