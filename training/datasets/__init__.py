"""The datasets by name. `load` is the one way to one; it imports TensorFlow only where Keras must download."""

import os
from collections.abc import Callable
from pathlib import Path

from training.datasets import fashion_mnist, files, named
from training.datasets.dataset import Dataset, Split
from training.datasets.files import FileOptions, name_of_files
from training.errors import ConfigInvalid

__all__ = [
    "COARSE",
    "DATASETS",
    "FILES",
    "Dataset",
    "FileOptions",
    "Split",
    "check",
    "load",
    "name_of_files",
    "of_files",
    "user_cache",
]

FILES = "files"
# What can be trained on; after a colon the library's name of it.
DATASETS = (fashion_mnist.NAME, FILES, "keras:NAME", "tfds:NAME")
# Those that say which coarser class each of their classes belongs to.
COARSE = (fashion_mnist.NAME,)
# Those whose pictures are files, for which FileOptions are.
_OF_FILES = (FILES, "tfds")


def of_files(name: str) -> bool:
    """Whether a dataset's pictures come as files, of any size, rather than as arrays."""
    return name.partition(":")[0] in _OF_FILES


def check(name: str, folder: Path | None) -> None:
    """Raises ConfigInvalid and DatasetUnavailable for what can be known to fail before anything is read."""
    library, _, its_name = name.partition(":")
    if name == FILES:
        files.check(_given(folder))
    elif library == "keras" and its_name:
        named.check_keras(its_name)
    elif name != fashion_mnist.NAME and not (library == "tfds" and its_name):
        raise _unknown(name)


def load(
    name: str,
    folder: Path | None = None,
    *,
    options: FileOptions | None = None,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Dataset:
    """Loads a dataset: `fashion_mnist`, `keras:NAME`, `tfds:NAME`, or `files`, a folder or table of the user's own.

    `folder` is where it lies, or None where it has sources of its own. `options` are for pictures that come as files.
    `cache` is where fetched and decoded copies are kept (the user's cache by default), `say` is told what takes long.
    Raises ConfigInvalid for an unknown name, DatasetUnavailable, DatasetCorrupt.
    """
    cache = cache or user_cache()
    library, _, its_name = name.partition(":")
    if name == fashion_mnist.NAME:
        return fashion_mnist.load(folder, cache, say)
    if name == FILES:
        return files.load(_given(folder), options or FileOptions(), cache, say)
    if library == "keras" and its_name:
        return named.from_keras(its_name, say)
    if library == "tfds" and its_name:
        return files.load(named.from_tfds(its_name, cache, say), options or FileOptions(), cache, say)
    raise _unknown(name)


def _given(folder: Path | None) -> Path:
    if folder is None:
        raise ConfigInvalid("training on files needs the folder or table they are in; give it by --data")
    return folder


def _unknown(name: str) -> ConfigInvalid:
    return ConfigInvalid(f"there is no dataset {name!r}; choose from {', '.join(DATASETS)}")


def user_cache() -> Path:
    """Where fetched data is kept: a folder in the user's cache, as the XDG convention places it."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convoy" / "datasets"
