"""The golden samples: encoded pictures with the answers that Keras's own `predict` gives to them.

A server reproduces them on its own hardware before it says READY, so they must touch what could differ there: every
class, PNG and JPEG, and pictures in colour that have to be cut down and turned to grey. Called by `training.publish`.
"""

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Golden, Preprocessing
from bundle.preprocessing import decode
from training.datasets import Split
from training.datasets.encoding import encode

_LEAST = 16
_JPEG_EVERY = 5
_ENLARGED = (7, 5)  # rows, columns: not square, so that a swap of the sides shows
_TINT = (1.0, 0.8, 0.6)


def write_golden(model: keras.Model, folder: Path, split: Split, spec: Preprocessing, output: str) -> Golden:
    """Writes `golden/` into `folder`: test pictures of every class and what `model` answers, named `output`."""
    files = _pictures(split)
    pixels = np.stack([decode(picture, spec) for picture in files.values()])
    answers = model.predict(pixels, batch_size=len(pixels), verbose=0)
    golden = Golden(images={spec.input: tuple(files)}, outputs="golden/outputs.npz")
    (folder / "golden").mkdir()
    for path, picture in files.items():
        (folder / path).write_bytes(picture)
    np.savez(folder / golden.outputs, **{output: answers})
    return golden


def _pictures(split: Split) -> dict[str, bytes]:
    """Encoded pictures by their paths in the bundle."""
    chosen = split.images[_of_every_class(split.labels)]
    files = {}
    for number, image in enumerate(chosen):
        is_jpeg = number % _JPEG_EVERY == _JPEG_EVERY - 1
        files[f"golden/{number:02}.{'jpg' if is_jpeg else 'png'}"] = encode(image, "JPEG" if is_jpeg else "PNG")
    large = _enlarged_and_tinted(chosen[0])
    files["golden/large.png"] = encode(large)
    files["golden/large.jpg"] = encode(large, "JPEG")
    return files


def _of_every_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of the first pictures of every class, as many of each, at least 16 in all where there are so many."""
    classes = np.unique(labels)
    each = -(-_LEAST // len(classes))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:each] for label in classes]))


def _enlarged_and_tinted(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Uint8 RGB, several times as large as the model takes."""
    large = np.kron(image.mean(axis=2), np.ones(_ENLARGED))
    return np.stack([large * tint for tint in _TINT], axis=2).astype(np.uint8)
