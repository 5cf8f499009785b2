"""A Keras model opened for a look inside: from a published version, which keeps it beside its report, or from a file.

Owns what both know: the output to explain, its labels, and how pictures become its inputs. A file's own scaling is
found as `convoy publish` finds it, and asked for where there is none: a look at wrong pixels would look like a look.
Called by `training.cli_show`.
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
from training.errors import ChoiceNeeded, NothingToShow
from training.foreign.case import Case
from training.foreign.keras_file import described, load
from training.foreign.keras_wrapping import scaled
from training.foreign.scaling import CHOICES, RAW, Scaling
from training.foreign.taking import decide_scaling
from training.foreign.wishes import Wishes
from training.report.record import FOLDER, MODEL
from training.visualize.cards import Pictures
from training.visualize.walk import has_graph

_SINGLE = 2  # labels of a single sigmoid
_PICTURE_DIMENSIONS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A model with a graph that takes pixels of 0..255.

    `name` is what it is called for people. `labels` are those of `output`, numbers where nobody gave them names;
    `gives_shares` says that its scores are known to be probabilities.
    """

    name: str
    model: keras.Model
    preprocessing: tuple[Preprocessing, ...]
    output: str
    labels: tuple[str, ...]
    gives_shares: bool = False

    def index_of(self, label: str | None) -> int | None:
        """The class of a label; None for None. Raises NothingToShow."""
        if label is None:
            return None
        if label not in self.labels:
            unnamed = self.labels == tuple(map(str, range(len(self.labels))))
            remedy = ", or give --labels FILE" if unnamed else ""
            raise NothingToShow(f"there is no label {label!r}; choose from {', '.join(self.labels[:20])}{remedy}")
        return self.labels.index(label)


def open_model(
    path: Path, head: str | None, wishes: Wishes, custom: Sequence[str] = (), *, pictures: bool = True
) -> Opened:
    """Opens a Keras file or a published version's own, to show it `pictures` or not.

    Of `wishes` the labels, which may be none, and the scaling are used, where `path` is a file; `custom` names classes
    of the user's own. Raises NothingToShow, ModelUnreadable, ChoiceNeeded, ChoiceContradicted, ConfigInvalid,
    BundleError.
    """
    if path.is_file():
        return _from_file(path, head, wishes, custom, pictures=pictures)
    return _from_version(path, head, wishes, custom)


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


def _from_version(path: Path, head: str | None, wishes: Wishes, custom: Sequence[str]) -> Opened:
    bundle = store.open_bundle(store.resolve(path))
    if wishes.preprocess is not None or wishes.labels:
        raise NothingToShow(
            f"{bundle.path} is a published version, which says these things itself; leave out --preprocess and --labels"
        )
    file = bundle.path / FOLDER / MODEL
    if not file.is_file():
        raise NothingToShow(f"{bundle.path} holds no Keras model ({FOLDER}/{MODEL}); give the .keras file itself")
    heads = {one.name: one for one in bundle.manifest.heads}
    name = next(iter(heads)) if head is None else head
    if name not in heads:
        raise NothingToShow(f"there is no head {name!r}; choose from {', '.join(heads)}")
    chosen = heads[name]
    return Opened(
        f"{bundle.name} version {bundle.version}",
        _with_graph(file, custom),
        bundle.manifest.preprocessing,
        chosen.output,
        bundle.labels(name),
        chosen.activation != "none",
    )


def _from_file(file: Path, head: str | None, wishes: Wishes, custom: Sequence[str], *, pictures: bool) -> Opened:
    model = _with_graph(file, custom)
    # A Sequential has no `output` of its own, and always one tensor.
    outputs = named(model, model.outputs[0] if isinstance(model, keras.Sequential) else model.output)
    output = next(iter(outputs)) if head is None else head
    if output not in outputs:
        raise NothingToShow(f"there is no output {output!r}; choose from {', '.join(outputs)}")
    labels = _labels(file, outputs[output].shape[-1], wishes)
    if not pictures:
        return Opened(file.name, model, (), output, labels)
    preprocessing = tuple(map(_stretched, model.inputs))
    scaling, gives_shares = _read(file, model, output, wishes)
    shown = model if scaling.changes_nothing else scaled(model, scaling)
    return Opened(file.name, shown, preprocessing, output, labels, gives_shares)


def _labels(file: Path, scores: int, wishes: Wishes) -> tuple[str, ...]:
    """The user's, which must be as many as the classes; numbers where there are none."""
    classes = max(scores, _SINGLE)
    if wishes.labels and len(wishes.labels) != classes:
        raise NothingToShow(
            f"{wishes.labels_file} has {len(wishes.labels)} labels, but {file} tells {classes} classes apart; give one "
            "label a line for each class, in their order"
        )
    return wishes.labels or tuple(map(str, range(classes)))


def _read(file: Path, model: keras.Model, output: str, wishes: Wishes) -> tuple[Scaling, bool]:
    """How pixels are scaled before they go in, and whether what comes out is known to be probabilities."""
    if len(model.inputs) > 1:
        return _scaling_of_several(file, model, wishes), False
    original = described(file, model)
    case = Case(original, wishes)
    scaling = decide_scaling(case, 3 if original.input.shape[-1] == 3 else 1)  # noqa: PLR2004
    if scaling is None:
        raise ChoiceNeeded(f"{file} does not say {'; nor '.join(case.questions)}")
    steps = original.last_steps
    return scaling, (steps.get(output) or next(iter(steps.values()), "")) in {"Softmax", "Sigmoid"}


def _scaling_of_several(file: Path, model: keras.Model, wishes: Wishes) -> Scaling:
    """Only the types of several inputs are looked at."""
    takes_pixels = all(np.issubdtype(tensor.dtype, np.integer) for tensor in model.inputs)
    if not takes_pixels and wishes.preprocess is None:
        raise ChoiceNeeded(f"{file} does not say how pixels were scaled in its training: give --preprocess {CHOICES}")
    if takes_pixels and wishes.preprocess not in {None, RAW}:
        raise NothingToShow(f"{file} takes whole numbers, so pixels go in as they are; leave out --preprocess")
    return RAW if takes_pixels or wishes.preprocess is None else wishes.preprocess


def _stretched(tensor: keras.KerasTensor) -> Preprocessing:
    shape = tuple(tensor.shape[1:])
    if len(shape) != _PICTURE_DIMENSIONS or None in shape or shape[2] not in {1, 3}:
        raise NothingToShow(
            f"input {tensor.name!r} takes {list(shape)}, but pictures are [height, width, 1 or 3]; publish the model, "
            "which says how its pictures are read"
        )
    return Preprocessing(input=tensor.name, height=shape[0], width=shape[1], channels=shape[2])


def _with_graph(file: Path, custom: Sequence[str]) -> keras.Model:
    model = load(file, custom)
    if not has_graph(model):
        raise NothingToShow(f"{file} is Python code of its own and has no graph of layers to look into")
    return model
