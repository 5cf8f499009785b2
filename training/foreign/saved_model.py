"""Reads a SavedModel folder: any TensorFlow model that takes decoded pictures, whatever wrote it.

Used is the signature `serving_default` or, where that takes no pictures, the only other one that does. A signature that
takes encoded bytes is not used: decoding is Convoy's own part of the contract. A graph that may reach outside
of itself is refused by `graph_code` before anything of it is run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from bundle.manifest import TensorSpec
from training.errors import ModelUnreadable
from training.foreign import keras_wrapping, tf_graph
from training.foreign.original import Array, Arrays, Original, in_fixed_batches
from training.refusing import graph_code

FILE = "saved_model.pb"

_DEFAULT = "serving_default"
_BATCH = 32


def read(folder: Path) -> Original:
    """The SavedModel in the folder. Raises ModelUnreadable."""
    return read_for(folder, folder)


def read_for(path: Path, folder: Path, note: str = "") -> Original:
    """The same for a model that the user knows by another path; the folder is not needed afterwards."""
    loaded = _load(path, folder)
    name, function = _signature(path, dict(loaded.signatures))
    (spec,) = _specs(function.structured_input_signature[1])
    outputs = _specs(function.structured_outputs)
    opening, last = tf_graph.read(function, spec)
    notes = (f"signature {name!r} is used",) if name != _DEFAULT else ()
    return Original(
        path=path,
        kind="SavedModel",
        input=spec,
        outputs=outputs,
        predict=_predict(function, spec, keep=loaded),
        write=keras_wrapping.writer(keras_wrapping.SignatureLayer(loaded, name, spec.name)),
        opening=opening,
        last_steps=last,
        notes=(*notes, *filter(None, (note,))),
    )


def _load(path: Path, folder: Path) -> Any:
    if not (folder / FILE).is_file():
        raise ModelUnreadable(f"{path}: there is no {FILE} in this folder; give a SavedModel's folder or a model file")
    try:
        graph_code.refuse_code(path, tf.__internal__.saved_model.parse_saved_model(str(folder)))
        return tf.saved_model.load(str(folder))
    except ModelUnreadable:
        raise
    except Exception as error:  # damaged files fail in many ways
        raise ModelUnreadable(f"{path}: TensorFlow can't read it: {' '.join(str(error).split())}") from error


def _signature(path: Path, signatures: dict[str, Any]) -> tuple[str, Any]:
    """The signature that takes one batch of pictures."""
    fitting = [name for name, function in signatures.items() if _takes_pictures(function)]
    if _DEFAULT in fitting:
        return _DEFAULT, signatures[_DEFAULT]
    if len(fitting) == 1:
        return fitting[0], signatures[fitting[0]]
    found = "; ".join(f"{name}({_arguments(function)})" for name, function in sorted(signatures.items())) or "none"
    remedy = "write it again with one signature, serving_default, that takes pixels"
    if any(spec.dtype == "string" for function in signatures.values() for spec in _inputs(function)):
        remedy = f"encoded bytes are decoded by Convoy, not by the model: {remedy}"
    raise ModelUnreadable(f"{path}: no signature takes one batch of pixels (it has {found}); {remedy}")


def _inputs(function: Any) -> tuple[TensorSpec, ...]:
    return _specs(function.structured_input_signature[1])


def _takes_pictures(function: Any) -> bool:
    inputs = _inputs(function)
    return len(inputs) == 1 and inputs[0].dtype != "string" and len(inputs[0].shape) in {3, 4}


def _arguments(function: Any) -> str:
    return ", ".join(f"{spec.name}: {spec.dtype} {list(spec.shape)}" for spec in _inputs(function))


def _specs(tensors: dict[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=name,
            dtype=tensors[name].dtype.name,
            shape=() if tensors[name].shape.rank is None else tuple(tensors[name].shape.as_list()),
        )
        for name in sorted(tensors)
    )


def _predict(function: Any, spec: TensorSpec, keep: object) -> Callable[[Array], Arrays]:
    """The signature itself. A loaded function holds its variables only weakly, so `keep` holds them."""

    def predict(pictures: Array, _keep: object = keep) -> Arrays:
        return {name: tensor.numpy() for name, tensor in function(**{spec.name: tf.constant(pictures)}).items()}

    return in_fixed_batches(predict, spec.shape[0] or _BATCH)
