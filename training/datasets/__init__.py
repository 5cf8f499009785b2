"""The datasets by name. `load` is the one way to one; it imports TensorFlow only where Keras must download."""

import os
from collections.abc import Callable
from pathlib import Path

from training.datasets import fashion_mnist
from training.datasets.dataset import Dataset, Split
from training.errors import ConfigInvalid

__all__ = ["LOADERS", "Dataset", "Split", "load", "user_cache"]

Loader = Callable[[Path | None, Path, Callable[[str], None]], Dataset]

LOADERS: dict[str, Loader] = {fashion_mnist.NAME: fashion_mnist.load}


def load(
    name: str,
    folder: Path | None = None,
    *,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Dataset:
    """Loads a dataset from `folder`, or from the first of its own sources that has it.

    `cache` is where fetched copies are kept (the user's cache by default), `say` is told what takes long. Raises
    ConfigInvalid for an unknown name, DatasetUnavailable, DatasetCorrupt.
    """
    if name not in LOADERS:
        raise ConfigInvalid(f"there is no dataset {name!r}; choose from {', '.join(LOADERS)}")
    return LOADERS[name](folder, cache or user_cache(), say)


def user_cache() -> Path:
    """Where fetched data is kept: a folder in the user's cache, as the XDG convention places it."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convoy" / "datasets"
