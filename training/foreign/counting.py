"""How many classes a `.keras` file tells apart, read from its JSON before TensorFlow is started.

A wrong label file is so said at once. Only what is plain is read: one Dense layer at the end; anything else tells
nothing here and is counted when the model is open, by `answering`. Called by `training.cli_publish`.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from training.errors import ChoiceContradicted
from training.foreign.wishes import Wishes

_YES_OR_NO = 2


def check_labels(path: Path, wishes: Wishes) -> None:
    """Raises ChoiceContradicted where the file plainly has another number of classes than there are labels."""
    classes = _classes(path) if path.suffix == ".keras" else None
    labels = len(wishes.labels)
    if classes not in {None, labels} and (classes, labels) != (1, _YES_OR_NO):
        raise ChoiceContradicted(
            f"{wishes.labels_file} has {labels} labels, but the last layer of {path} has {classes} units; give one "
            "label a line for each class, in their order"
        )


def _classes(path: Path) -> int | None:
    """None where the file does not plainly say it; a damaged one is named when it is opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            model = json.loads(archive.read("config.json"))
        last = _last_layer(model)
        return int(last["config"]["units"]) if last["class_name"] == "Dense" else None
    except Exception:
        return None


def _last_layer(model: dict[str, Any]) -> dict[str, Any]:
    layers: list[dict[str, Any]] = model["config"]["layers"]
    if model["class_name"] == "Sequential":
        return layers[-1]
    [[name, *_]] = model["config"]["output_layers"] if _is_nested(model) else [model["config"]["output_layers"]]
    return next(layer for layer in layers if layer["name"] == name)


def _is_nested(model: dict[str, Any]) -> bool:
    """Keras writes one output as [name, call, tensor], or as a list of such."""
    return isinstance(model["config"]["output_layers"][0], list)
