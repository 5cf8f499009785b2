"""A Keras model opened for a look inside: from a published version, which keeps it beside its report, or from a file.

Owns what both know: the output to explain, its labels, and how pictures become its inputs. Code that a file brings
along is not run. Called by `training.cli_show`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from bundle import store
from bundle.errors import ImageError
from bundle.manifest import Preprocessing
from bundle.preprocessing import decode
from training.asking import named
from training.errors import NothingToShow
from training.report.record import FOLDER, MODEL
from training.visualize.cards import Pictures
from training.visualize.walk import has_graph

_SINGLE = 2  # labels of a single sigmoid
_PICTURE_DIMENSIONS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A model with a graph; `labels` are those of `output`, numbers where nobody gave them names."""

    model: keras.Model
    preprocessing: tuple[Preprocessing, ...]
    output: str
    labels: tuple[str, ...]

    def index_of(self, label: str | None) -> int | None:
        """The class of a label; None for None. Raises NothingToShow."""
        if label is None:
            return None
        if label not in self.labels:
            raise NothingToShow(f"there is no label {label!r}; choose from {', '.join(self.labels[:20])}")
        return self.labels.index(label)


def open_model(path: Path, head: str | None) -> Opened:
    """Opens a `.keras` file or a published version's own. Raises NothingToShow, BundleError."""
    return _from_file(path, head) if path.is_file() else _from_version(path, head)


def read_pictures(opened: Opened, files: Sequence[Path]) -> Pictures:
    """One picture for each input, in their order, uint8 [1, height, width, channels] by input name.

    Raises NothingToShow for another number of files and for a file that is no picture.
    """
    wanted = [spec.input for spec in opened.preprocessing]
    if len(files) != len(wanted):
        raise NothingToShow(
            f"the model takes {len(wanted)} picture{'s' if len(wanted) > 1 else ''} ({', '.join(wanted)}), but "
            f"{len(files)} were given; name a file for each"
        )
    each = zip(opened.preprocessing, files, strict=True)
    return {spec.input: _picture(file, spec)[np.newaxis] for spec, file in each}


def _picture(file: Path, spec: Preprocessing) -> NDArray[np.uint8]:
    try:
        return decode(file.read_bytes(), spec)
    except OSError as error:
        raise NothingToShow(f"{file} can't be read: {error.strerror}") from error
    except ImageError as error:
        raise NothingToShow(f"{file}: {error}") from error


def _from_version(path: Path, head: str | None) -> Opened:
    bundle = store.open_bundle(store.resolve(path))
    file = bundle.path / FOLDER / MODEL
    if not file.is_file():
        raise NothingToShow(f"{bundle.path} holds no Keras model ({FOLDER}/{MODEL}); give the .keras file itself")
    heads = {one.name: one for one in bundle.manifest.heads}
    name = next(iter(heads)) if head is None else head
    if name not in heads:
        raise NothingToShow(f"there is no head {name!r}; choose from {', '.join(heads)}")
    return Opened(_load(file), bundle.manifest.preprocessing, heads[name].output, bundle.labels(name))


def _from_file(file: Path, head: str | None) -> Opened:
    model = _load(file)
    # A Sequential has no `output` of its own, and always one tensor.
    outputs = named(model, model.outputs[0] if isinstance(model, keras.Sequential) else model.output)
    output = next(iter(outputs)) if head is None else head
    if output not in outputs:
        raise NothingToShow(f"there is no output {output!r}; choose from {', '.join(outputs)}")
    classes = max(outputs[output].shape[-1], _SINGLE)
    return Opened(model, tuple(map(_stretched, model.inputs)), output, tuple(map(str, range(classes))))


def _stretched(tensor: keras.KerasTensor) -> Preprocessing:
    shape = tuple(tensor.shape[1:])
    if len(shape) != _PICTURE_DIMENSIONS or None in shape or shape[2] not in {1, 3}:
        raise NothingToShow(
            f"input {tensor.name!r} takes {list(shape)}, but pictures are [height, width, 1 or 3]; publish the model, "
            "which says how its pictures are read"
        )
    return Preprocessing(input=tensor.name, height=shape[0], width=shape[1], channels=shape[2])


def _load(file: Path) -> keras.Model:
    try:
        model = keras.saving.load_model(file, compile=False)
    except Exception as error:  # Keras raises whatever it likes
        first_line = str(error).strip().partition("\n")[0]
        raise NothingToShow(f"{file} can't be loaded as a Keras model: {first_line}") from error
    if not has_graph(model):
        raise NothingToShow(f"{file} is Python code of its own and has no graph of layers to look into")
    return model
