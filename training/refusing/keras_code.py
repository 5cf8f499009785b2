"""Refuses Keras files that bring code along or name other files, before any loader sees them.

A loader makes whatever a file's configuration names, and not every one asks first: that of tf-keras runs what a Lambda
in a `.h5` holds. So the configuration is walked here, through wrappers and models within models, and what could run
is refused by its name. Called by `foreign.keras_file` and by the report for every file.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import keras

from training.errors import ModelUnreadable
from training.refusing import graph_code

ELSEWHERE = "write the model with model.export(FOLDER) where it was made and publish FOLDER"

_CODE = {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
_SYMBOLS = {"TFOpLambda": "function", "SlicingOpLambda": "function", "ClassMethod": "cls_symbol"}
# TensorFlow's functions of tensors alone, as Keras 2 names them; others read and write files or fetch them.
_OF_TENSORS = re.compile(
    r"(compat\.v1\.)?((math|nn|linalg|image|signal|random|__operators__)\.(?!fixed_unigram_candidate_sampler$)\w+|"
    r"(cast|reshape|transpose|concat|stack|unstack|split|squeeze|expand_dims|reverse|pad|tile|repeat|gather|identity|"
    r"clip_by_value|shape|strided_slice|slice|where|zeros_like|ones_like|broadcast_to|stop_gradient|one_hot|einsum|roll|"
    r"tensordot|norm|convert_to_tensor|fill|range|gather_nd|boolean_mask|size|rank|zeros|ones|meshgrid|eye|sort|argsort|"
    r"ensure_shape|clip_by_norm|linspace|sequence_mask|tensor_scatter_nd_update))"
)
_KERAS = re.compile(r"(builtins|(keras|tf_keras|keras_hub|keras_cv|keras_nlp|tensorflow\.(python\.)?keras)(\..*)?)")

Entry = Mapping[str, Any]


def refuse_code(path: Path, objects: Mapping[str, Any]) -> None:
    """Raises ModelUnreadable for a file that is not plainly data. `objects` are the user's own classes by name."""
    try:
        _refuse(path, json.loads(_of_archive(path) if path.suffix == ".keras" else _of_h5(path)), objects)
    except ModelUnreadable:
        raise
    except Exception as error:  # damaged files fail in many ways
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ModelUnreadable(f"{path}: Keras can't read it: {problem}") from error


def _refuse(path: Path, config: Any, objects: Mapping[str, Any]) -> None:
    for entry in _entries(config):
        if problem := _code(entry, objects):
            raise ModelUnreadable(f"{path}: it has {problem} and is never run here; {ELSEWHERE}")
        if stranger := _stranger(entry, objects):
            raise ModelUnreadable(f"{path}: {not_of_keras(*stranger)}")


def not_of_keras(full: str, module: str | None) -> str:
    """The sentence about a class of the user's own; `full` is its name, or "package>Name" as it was registered."""
    name = full.rpartition(">")[2]
    called = f"{name!r}, registered as {full!r}," if ">" in full else repr(name)
    home = "module" if module in {None, "builtins", "__main__"} else module
    return (
        f"{called} is not a layer of Keras; give --custom {home}:{name}, where {home} is the Python module that "
        f"defines it, or {ELSEWHERE}"
    )


def _of_archive(path: Path) -> bytes:
    """The configuration in a `.keras` file, whose weights are looked at, too."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ModelUnreadable(f"{path}: it holds {name!r}, a path outside of it; save the model again")
            if name.endswith(".h5"):
                with h5py.File(io.BytesIO(archive.read(name)), "r") as weights:
                    _refuse_links(path, weights)
        return archive.read("config.json")


def _of_h5(path: Path) -> str | bytes:
    with h5py.File(path, "r") as file:
        _refuse_links(path, file)
        config = file.attrs.get("model_config")
    if not isinstance(config, str | bytes):
        raise ModelUnreadable(f"{path}: it holds weights and no model; save the model itself with model.save(FILE)")
    return config


def _refuse_links(path: Path, file: h5py.File) -> None:
    """HDF5 can say that a part of a file is another file, such as one that only its reader may see."""
    waiting = [file["/"]]
    seen: set[int] = set()
    while waiting:
        group = waiting.pop()
        place = h5py.h5o.get_info(group.id).addr
        if place in seen:
            continue
        seen.add(place)
        for name in group:
            link = group.get(name, getlink=True)
            item = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(link, h5py.ExternalLink) or (
                isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
            ):
                raise ModelUnreadable(f"{path}: {group.name} {name!r} lies in another file; save the model again")


def _entries(config: Any) -> Iterator[Entry]:
    """Every object of the JSON, however deep it is."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _code(entry: Entry, objects: Mapping[str, Any]) -> str:
    """What in an object of the configuration could run or reach a file, as a part of a sentence; else ""."""
    name = str(entry.get("class_name", "")).rpartition(">")[2]
    config = entry.get("config")
    config = config if isinstance(config, dict) else {}
    layer = f"a {name} layer" + (f" {config['name']!r}" if isinstance(config.get("name"), str) else "")
    if name in _CODE:
        return f"{'a lambda' if name == '__lambda__' else layer}, which is code that came with the file"
    if name in _SYMBOLS and not _OF_TENSORS.fullmatch(str(symbol := config.get(_SYMBOLS[name]))):
        return f"{layer}, which calls TensorFlow's {symbol}"
    if name in {"InstanceMethod", "InstanceProperty"}:
        return f"{layer}, which calls {config.get('attr_name')}"
    if name == "TensorFlowOpLayer":
        node = config.get("node_def")
        operator = node.get("op", "") if isinstance(node, dict) else ""
        return (
            "" if operator and not graph_code.is_refused(operator) else f"{layer}, which runs {operator or 'a graph'}"
        )
    if isinstance(config.get("vocabulary"), str) and name not in objects:
        return f"{layer}, whose vocabulary is a file on this machine, {config['vocabulary']}, which is not its own"
    return ""


def _stranger(entry: Entry, objects: Mapping[str, Any]) -> tuple[str, str] | None:
    """The registered name and the module of a class or function that a loader would import from elsewhere."""
    module = entry.get("module")
    if "class_name" not in entry or not isinstance(module, str):
        return None
    of_function = entry["class_name"] == "function"
    name = str(entry["config"] if of_function else entry["class_name"])
    registered = str(entry.get("registered_name") or name)
    if any(keras.saving.get_registered_object(known, objects) for known in (name, registered)):
        return None
    return None if _KERAS.fullmatch(module) and "." not in name + registered else (registered, module)
