"""The golden samples: encoded pictures with the answers that Keras's own `predict` gives to them.

A server reproduces them on its own hardware before it says READY, so they must touch what could differ there: every
class of every head (of very many classes 64 that lie evenly among them), PNG and JPEG, and pictures in colour that have
to be cut down and turned to grey. Called by `training.publish`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

from bundle import headers
from bundle.manifest import Golden, Preprocessing
from bundle.preprocessing import decode
from training.asking import predict
from training.datasets import Split
from training.datasets.encoding import encode
from training.tasks import FIXED_SEED, Task

Kind = Literal["PNG", "JPEG"]

_OUTPUTS = "golden/outputs.npz"
_LEAST = 16
_MOST = 64  # pictures: every server runs all of them whenever it loads the version
_JPEG_EVERY = 5
_SUFFIXES: dict[Kind, str] = {"PNG": "png", "JPEG": "jpg"}
# Rows, columns: not square, so that a swap of the sides shows. The first that stays within the side, else the last.
_ENLARGED = ((7, 5), (5, 3), (3, 2))
_LARGE_SIDE = 800
_TINT = (1.0, 0.8, 0.6)


def write_golden(
    model: keras.Model,
    folder: Path,
    split: Split,
    task: Task,
    preprocessing: Sequence[Preprocessing],
    *,
    explaining: keras.Model | None = None,
) -> Golden:
    """Writes `golden/` into `folder`: examples of every class and what `model` answers, by input and output name.

    What `explaining` gives stands beside the answers.
    """
    examples = task.examples(split, FIXED_SEED)
    examples = examples[_of_every_class(list(examples.targets.values()))]
    (folder / "golden").mkdir()
    images, pixels = {}, {}
    for spec in preprocessing:
        files = _pictures(spec.input, split, examples.inputs[spec.input])
        for path, picture in files.items():
            (folder / path).write_bytes(picture)
        images[spec.input] = tuple(files)
        pixels[spec.input] = np.stack([decode(picture, spec) for picture in files.values()])
    answers = predict(model, pixels) | ({} if explaining is None else predict(explaining, pixels))
    np.savez(folder / _OUTPUTS, allow_pickle=False, **answers)
    return Golden(images=images, outputs=_OUTPUTS)


def _pictures(name: str, split: Split, indices: NDArray[np.int64]) -> dict[str, bytes]:
    """Encoded pictures of the input `name`, by their paths in the bundle."""
    files = {}
    for number, index in enumerate(indices.tolist()):
        if number % _JPEG_EVERY == _JPEG_EVERY - 1:
            files[f"golden/{name}-{number:02}.jpg"] = encode(split.images[index], "JPEG")
        else:
            picture = split.encoded(index)
            files[f"golden/{name}-{number:02}.{headers.read(picture).format.lower()}"] = picture
    large = _enlarged_and_tinted(split.images[indices[0]])
    return files | {f"golden/{name}-large.{suffix}": encode(large, kind) for kind, suffix in _SUFFIXES.items()}


def _of_every_class(targets: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The numbers of the first examples of every class of every head, as many of each class.

    16 in all if there are, and no more than 64, of classes that lie evenly among all.
    """
    return np.unique(np.concatenate([_first_of_each(labels, max(1, _MOST // len(targets))) for labels in targets]))


def _first_of_each(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    classes = np.unique(labels)
    if len(classes) > most:
        classes = classes[np.linspace(0, len(classes) - 1, most).round().astype(np.int64)]
    each = max(1, min(-(-_LEAST // len(classes)), most // len(classes)))
    return np.concatenate([np.flatnonzero(labels == label)[:each] for label in classes])


def _enlarged_and_tinted(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Uint8 RGB, several times as large as the model takes."""
    fits = (by for by in _ENLARGED if max(image.shape[0] * by[0], image.shape[1] * by[1]) <= _LARGE_SIDE)
    large = np.kron(image.mean(axis=2), np.ones(next(fits, _ENLARGED[-1])))
    return np.stack([large * tint for tint in _TINT], axis=2).astype(np.uint8)
