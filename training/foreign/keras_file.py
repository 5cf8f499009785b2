"""Reads a Keras model from a `.keras` or a `.h5` file, also from the `.h5` of Keras 2.

A file that brings code along, such as a Lambda layer, is refused by `keras_code` before any loader sees it. A class of
the user's own is imported only where `--custom` names it. What Keras 3 can't read is tried with tf-keras where that is
installed.
"""

import importlib
import io
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bundle.manifest import TensorSpec
from training.errors import ConfigInvalid, ModelUnreadable
from training.foreign import keras_wrapping, saved_model, tf_graph
from training.foreign.original import Array, Arrays, Original, in_fixed_batches
from training.refusing import keras_code
from training.visualize.walk import has_graph

_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown (?:layer|class|\w+ function):?) '(.+?)'")
# What Keras adds for a class that its owner registered in a package of his own.
_REGISTERED = re.compile(r"'registered_name': '([^']+>[^']+)'")
_BATCH = 32


class _DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """As Keras 2 wrote it down, with a number of groups that was always 1 and that Keras 3 stumbles over."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The layer of Keras 3."""
        groups = config.pop("groups", 1)
        if groups != 1:
            raise ValueError(f"a DepthwiseConv2D of {groups} groups is not known")
        return keras.layers.DepthwiseConv2D.from_config(config)


_OF_KERAS_2 = {"DepthwiseConv2D": _DepthwiseConv2D}


def read(path: Path, custom: Sequence[str] = ()) -> Original:
    """The model in the file; `custom` names classes as "module:Name". Raises ModelUnreadable, ConfigInvalid."""
    objects = _objects(path, custom)
    keras_code.refuse_code(path, objects)
    try:
        model = _load(path, objects)
    except Exception as error:  # damaged files and old formats fail in many ways
        if path.suffix == ".keras":
            raise _unreadable(path, error) from error
        return _by_tf_keras(path, objects, error)
    return described(path, model)


def load(path: Path, custom: Sequence[str] = ()) -> Any:
    """The Keras 3 model in the file. Raises ModelUnreadable, ConfigInvalid."""
    objects = _objects(path, custom)
    keras_code.refuse_code(path, objects)
    try:
        return _load(path, objects)
    except Exception as error:
        raise _unreadable(path, error) from error


def _load(path: Path, objects: dict[str, Any]) -> Any:
    return keras.saving.load_model(path, custom_objects=objects, compile=False, safe_mode=True)


def _objects(path: Path, custom: Sequence[str]) -> dict[str, Any]:
    return (_OF_KERAS_2 if path.suffix != ".keras" else {}) | dict(map(imported, custom))


def imported(name: str) -> tuple[str, Any]:
    """The class or function that "module:Name" means, under its own name. Raises ConfigInvalid."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")  # the folder from which the command is run, where the user's modules are
    try:
        return attribute, getattr(importlib.import_module(module), attribute)
    except Exception as error:  # it is the user's code that runs
        raise ConfigInvalid(f"--custom {name} can't be imported ({error}); give module:Name") from error
    finally:
        sys.path.remove("")


def described(path: Path, model: Any) -> Original:
    """What a loaded model says of itself. Raises ModelUnreadable."""
    spec = _input(path, model)
    outputs = _outputs(model)

    def call(pictures: Any) -> dict[str, Any]:
        return _named(outputs, model(pictures, training=False))

    function = tf.function(call)
    opening, last = tf_graph.read(function.get_concrete_function(tf.TensorSpec(spec.shape, spec.dtype)), spec)
    return Original(
        path=path,
        kind="Keras model",
        input=spec,
        outputs=outputs,
        predict=_predict(model, outputs, spec.shape[0]),
        write=keras_wrapping.writer(call),
        look=partial(keras_wrapping.looked_into, call) if has_graph(model) else None,
        opening=opening,
        last_steps=last,
    )


def _input(path: Path, model: Any) -> TensorSpec:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise ModelUnreadable(
            f"{path}: the model does not declare its input, because it is a class of its own or was never called; "
            f"{keras_code.ELSEWHERE}"
        )
    if len(inputs) > 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise ModelUnreadable(
            f"{path}: the model has {len(inputs)} inputs ({names}); only one, of pictures, can be used"
        )
    return _spec(inputs[0].name, inputs[0])


def _outputs(model: Any) -> tuple[TensorSpec, ...]:
    structure = model.output if hasattr(model, "output") else model.outputs
    if isinstance(structure, dict):
        names = sorted(structure)
        return tuple(_spec(name, structure[name]) for name in names)
    tensors = keras.tree.flatten(structure)
    names = getattr(model, "output_names", None) or [model.layers[-1].name]  # a Sequential has one output and no name
    unique = names if len({*names}) == len(tensors) else [f"output_{number}" for number in range(len(tensors))]
    return tuple(_spec(name, tensor) for name, tensor in zip(unique, tensors, strict=True))


def _spec(name: str, tensor: Any) -> TensorSpec:
    dtype = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.name
    return TensorSpec(name=name, dtype=dtype, shape=tuple(tensor.shape))


def _named(outputs: Sequence[TensorSpec], answer: Any) -> dict[str, Any]:
    if isinstance(answer, dict):
        return answer
    return {spec.name: tensor for spec, tensor in zip(outputs, keras.tree.flatten(answer), strict=True)}


def _predict(model: Any, outputs: Sequence[TensorSpec], rows: int | None) -> Callable[[Array], Arrays]:
    """Keras's own `predict`, by output name."""

    def predict(pictures: Array) -> Arrays:
        answer = model.predict(pictures, batch_size=rows or _BATCH, verbose=0)
        return {name: np.asarray(array) for name, array in _named(outputs, answer).items()}

    return predict if rows is None else in_fixed_batches(predict, rows)


def _by_tf_keras(path: Path, objects: dict[str, Any], error: Exception) -> Original:
    """A Keras 2 model as tf-keras reads it, by way of a SavedModel, which needs no Keras at all."""
    try:
        import tf_keras
    except ImportError:
        raise _unreadable(
            path, error, remedy="if Keras 2 wrote it, tf-keras may read it: pip install tf-keras"
        ) from error
    try:
        model = tf_keras.models.load_model(path, custom_objects=objects, compile=False)
        with tempfile.TemporaryDirectory(prefix="convoy-tf-keras-") as folder:
            with redirect_stdout(io.StringIO()):  # it lists its variables
                model.export(folder)
            return saved_model.read_for(path, Path(folder), note="Keras 3 can't read it, tf-keras did")
    except ModelUnreadable:  # says itself what is wrong with the graph
        raise
    except Exception as second:
        raise _unreadable(path, second) from second


def _unreadable(path: Path, error: Exception, remedy: str = "") -> ModelUnreadable:
    reason = " ".join(str(error).split())
    unknown = _UNKNOWN.search(reason)
    other = f"; {remedy}" if remedy else ""
    if unknown is not None:
        return ModelUnreadable(f"{path}: {_unknown(unknown[1], reason)}{other}")
    return ModelUnreadable(f"{path}: Keras can't read it: {_cut(reason)}{other}")


def _unknown(found: str, reason: str) -> str:
    """The sentence about a class that is not Keras's; `found` is its name, or "package>Name" in a `.h5`."""
    registered = _REGISTERED.search(reason)
    full = registered[1] if registered is not None else found
    name = full.rpartition(">")[2]
    module = re.search(rf"'module': '([\w.]+)', 'class_name': '{re.escape(name)}'", reason)
    return keras_code.not_of_keras(full, None if module is None else module[1])


def _cut(reason: str, most: int = 300) -> str:
    return reason if len(reason) <= most else f"{reason[:most]}..."
