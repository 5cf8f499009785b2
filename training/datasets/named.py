"""Datasets that others keep, by name: `keras:NAME` from keras.datasets, `tfds:NAME` from TensorFlow Datasets.

Both download at first use and keep what they fetched in caches of their own. TensorFlow Datasets' encoded pictures are
written out once as class folders, and from there on they are files as a user's are. Called through
`training.datasets.load`.
"""

import hashlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.atomic import write_atomically
from training.datasets.dataset import Dataset, Split
from training.errors import ConfigInvalid, DatasetUnavailable

KERAS: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}
_VALIDATION = 12  # the last twelfth of the training pictures, as for Fashion-MNIST


def check_keras(name: str) -> None:
    """Raises ConfigInvalid for a name that is not in the table."""
    if name not in KERAS:
        raise ConfigInvalid(f"keras:{name} is not known; choose from {', '.join(f'keras:{known}' for known in KERAS)}")


def from_keras(name: str, say: Callable[[str], None]) -> Dataset:
    """A dataset of `keras.datasets`, which downloads it. Raises ConfigInvalid, DatasetUnavailable."""
    check_keras(name)
    say(f"reading {name} through keras.datasets, which downloads it at first use")
    try:
        train, test = import_module(f"keras.datasets.{name}").load_data()
    except Exception as error:  # Keras raises a bare Exception where the network fails
        raise DatasetUnavailable(f"keras.datasets could not give {name}: {error}") from error
    return _dataset(name, train, test)


def _dataset(name: str, train: tuple[Any, Any], test: tuple[Any, Any]) -> Dataset:
    (images, labels), (test_images, test_labels) = map(_arrays, (train, test))
    kept = len(labels) - len(labels) // _VALIDATION
    content = hashlib.sha256()
    for array in (images, labels, test_images, test_labels):
        content.update(np.ascontiguousarray(array).data)
    return Dataset(
        name=name,
        class_names=KERAS[name],
        train=Split(images[:kept], labels[:kept]),
        validation=Split(images[kept:], labels[kept:]),
        test=Split(test_images, test_labels),
        digest=f"sha256:{content.hexdigest()}",
    )


def _arrays(pair: tuple[Any, Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = (np.asarray(array) for array in pair)
    return images.reshape(*images.shape[:3], -1), labels.reshape(-1).astype(np.int64)


def from_tfds(name: str, cache: Path, say: Callable[[str], None]) -> Path:
    """A folder of class folders with the pictures of a TensorFlow Datasets classification set, written at first use.

    Raises DatasetUnavailable where the library is not installed or can't give it.
    """
    folder = cache / "tfds" / name.replace("/", "-")
    if (folder / ".complete").exists():
        return folder / "pictures"
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise DatasetUnavailable(
            f"tfds:{name} needs TensorFlow Datasets; run pip install tensorflow-datasets, or give a folder by --data"
        ) from error
    say(f"reading {name} through TensorFlow Datasets, which downloads it at first use, into {folder}")
    try:
        builder = tfds.builder(name)
        builder.download_and_prepare()
        _write_out(builder, tfds.decode.SkipDecoding(), folder / "pictures")
    except Exception as error:  # the library and its many downloads raise whatever they like
        raise DatasetUnavailable(f"TensorFlow Datasets could not give {name}: {error}") from error
    write_atomically(folder / ".complete", b"")
    return folder / "pictures"


def _write_out(builder: Any, skip: Any, folder: Path) -> None:
    names = builder.info.features["label"].names
    for split in builder.info.splits:
        pictures = builder.as_data_source(split, decoders={"image": skip})
        for number, example in enumerate(pictures):
            path = folder / split / names[example["label"]] / f"{number:08}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(example["image"])
