"""Lists a folder of class-named folders of pictures, with `train`, `val` and `test` above them or without.

Every file that is not hidden counts as a picture, so that nothing is passed over in silence: what can't be read, and a
class folder without a file, is reported later, by its name. Called by `files`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from training.datasets.listing import SPLIT_NAMES, Listed, SplitName
from training.errors import DatasetCorrupt, DatasetUnavailable

# What file managers leave behind.
_NO_PICTURES = frozenset({"desktop.ini", "thumbs.db"})


def pictures(root: Path) -> tuple[list[Listed], list[Path]]:
    """Every picture below `root`, in the order of their paths; and the class folders that have none.

    Raises DatasetUnavailable for a folder that can't be read, DatasetCorrupt for one without class folders and for
    classes that only validation or test know.
    """
    try:
        found = [(path, name, split, list(_files(path))) for path, name, split in _class_folders(root)]
    except OSError as error:
        raise DatasetUnavailable(f"{error.filename or root} can't be read: {error.strerror}") from error
    if not found:
        raise DatasetCorrupt(
            f"{root} has no picture in a folder of its class; put every class's pictures into a folder of its name, as "
            f"{root.name}/rose/1.jpg"
        )
    listed = [Listed(file, name, split) for _, name, split, files in found for file in files]
    return listed, [path for path, _, _, files in found if not files]


def _class_folders(root: Path) -> Iterator[tuple[Path, str, SplitName | None]]:
    """Each class folder with its label and split."""
    folders = _folders(root)
    splits = {name: SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES}
    if "train" not in splits.values():
        yield from ((root / name, name, None) for name in folders)
        return
    strange = sorted(set(folders) - set(splits))
    if strange:
        raise DatasetCorrupt(
            f"{root} has folders for splits and also {strange[0]!r}; put every class folder into a split's folder"
        )
    trained = {name for folder, split in splits.items() if split == "train" for name in _folders(root / folder)}
    for folder, split in splits.items():
        for name in _folders(root / folder):
            if name not in trained:
                raise DatasetCorrupt(f"{root / folder} has the class {name!r}, which the training pictures do not have")
            yield root / folder / name, name, split


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in _NO_PICTURES:
                yield Path(path, name)
