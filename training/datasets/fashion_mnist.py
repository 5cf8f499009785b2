"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 70,000 grey pictures of clothing, 28x28, in ten classes.

Owns where the data may come from and what it must be: whatever the source, the decompressed content has the digests
below, or it is refused. Called through `training.datasets.load`.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets import debian, idx
from training.datasets.dataset import Dataset, Split
from training.errors import DatasetCorrupt, DatasetUnavailable

NAME = "fashion_mnist"
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
COARSE_NAMES = (
    "Top",
    "Bottoms",
    "Top",
    "Dress",
    "Top",
    "Footwear",
    "Top",
    "Footwear",
    "Bag",
    "Footwear",
)
# SHA-256 of the decompressed files. The order is that of `keras.datasets.fashion_mnist.load_data`, flattened.
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
# The training file is in random order, so its end is as good a validation split as any other, and always the same.
VALIDATION = 5_000

Arrays = tuple[NDArray[np.uint8], ...]
Source = tuple[str, Callable[[], Arrays]]


def load(folder: Path | None, cache: Path, say: Callable[[str], None]) -> Dataset:
    """Reads the four files from `folder`; without one from the first source that has them.

    `cache` is where a fetched copy is kept, `say` is told what takes long. Raises DatasetUnavailable, DatasetCorrupt.
    """
    if folder is not None:
        return _dataset(*_first(((str(folder), lambda: _from_folder(folder)),)))
    return _dataset(*_first(sources(cache, say)))


def sources(cache: Path, say: Callable[[str], None]) -> tuple[Source, ...]:
    """Where the data is looked for, in this order, each with its name for people."""
    kept = cache / NAME
    return (
        (str(INSTALLED), lambda: _from_folder(INSTALLED)),
        (str(kept), lambda: _from_folder(kept)),
        (f"apt-get download {PACKAGE}", lambda: _from_debian(kept, say)),
        ("keras.datasets", lambda: _from_keras(say)),
    )


def _first(candidates: tuple[Source, ...]) -> tuple[str, Arrays]:
    tried = []
    for name, read in candidates:
        try:
            return name, read()
        except DatasetUnavailable as error:
            tried.append(f"{name} ({error})")
    raise DatasetUnavailable(
        f"Fashion-MNIST was not found; tried {'; '.join(tried)}. Give a folder that holds {', '.join(FILES)}, "
        "each with or without .gz, by --data or CONVOY_DATA"
    )


def _from_folder(folder: Path) -> Arrays:
    return tuple(_read(folder, name) for name in FILES)


def _read(folder: Path, name: str) -> NDArray[np.uint8]:
    for path in (folder / f"{name}.gz", folder / name):
        try:
            return idx.read(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DatasetUnavailable(f"{path} can't be read: {error.strerror}") from error
    raise DatasetUnavailable(f"no {name}.gz there" if folder.is_dir() else "no such folder")


def _from_debian(kept: Path, say: Callable[[str], None]) -> Arrays:
    say(f"fetching Debian's package {PACKAGE} (31 MB) into {kept}")
    debian.fetch(PACKAGE, str(INSTALLED).lstrip("/"), kept)
    return _from_folder(kept)


def _from_keras(say: Callable[[str], None]) -> Arrays:
    from keras.datasets import fashion_mnist

    say("fetching through keras.datasets (31 MB)")
    try:
        train, test = fashion_mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception where the network fails
        raise DatasetUnavailable(str(error)) from error
    return (*train, *test)


def _dataset(source: str, arrays: Arrays) -> Dataset:
    digests = [idx.digest(array) for array in arrays]
    for (name, expected), found in zip(FILES.items(), digests, strict=True):
        if found != expected:
            raise DatasetCorrupt(
                f"{name} from {source} is not Fashion-MNIST's: its decompressed SHA-256 is {found}, not {expected}; "
                "remove that copy, or give a folder with the original files by --data"
            )
    images, labels, test_images, test_labels = arrays
    return Dataset(
        name=NAME,
        class_names=CLASS_NAMES,
        coarse_names=COARSE_NAMES,
        train=_split(images[:-VALIDATION], labels[:-VALIDATION]),
        validation=_split(images[-VALIDATION:], labels[-VALIDATION:]),
        test=_split(test_images, test_labels),
        digest=f"sha256:{hashlib.sha256(''.join(digests).encode()).hexdigest()}",
    )


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    return Split(images[..., np.newaxis], labels.astype(np.int64))
