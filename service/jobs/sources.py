"""Which pictures a command works on: the files of a folder, of a glob, or one file.

Owns what counts as a picture: by its suffix in a folder, by the user's own pattern in a glob. The result is sorted, so
two runs over the same files give the same rows. Called by `convoy batch`, and by `convoy classify` for its folders; the
base install has it, so nothing is imported but the standard library.
"""

import glob
import os
from pathlib import Path
from typing import Final

from service.errors import SettingsError

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


def find_pictures(source: str) -> list[Path]:
    """The pictures that `source` names: a folder and all below it, a glob ("photos/**/*.jpg") or one file.

    In a folder, hidden files and folders are passed over and links to folders are not followed. Raises SettingsError
    where a folder can't be read or nothing is found.
    """
    path = Path(source)
    if path.is_dir():
        found, wanted = _walk(path), f"no file below it ends in {', '.join(SUFFIXES)}"
    else:
        found, wanted = _glob(source), "there is no such file or folder, and no file matches it as a pattern"
    if not found:
        raise SettingsError(f"there are no pictures in {source!r}: {wanted}")
    return sorted(found)


def _walk(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(parent, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and _is_readable_kind(path)]
    return found


def _is_readable_kind(path: Path) -> bool:
    """A file, or a link to nowhere, which will be a row with its error; a pipe or a socket would never end."""
    return path.is_file() or not path.exists()


def _refuse(error: OSError) -> None:
    """Pictures that can't be seen would be left out without a word."""
    raise SettingsError(f"folder {error.filename!r} can't be read: {error.strerror}") from error


def _glob(pattern: str) -> list[Path]:
    matches = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [path for path in map(Path, matches) if path.is_file()]
