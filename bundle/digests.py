"""A version's files and their digests: taken when it is published, compared before it is opened.

What is not a plain file is refused without being opened, so a pipe can't hang a reader. Called by `bundle.store`.
"""

import errno
import hashlib
import stat
from io import BufferedReader
from pathlib import Path

from bundle.manifest import FileDigest

MANIFEST = "manifest.json"


def open_plain(path: Path) -> BufferedReader:
    """Opens a plain file for reading. Raises OSError, also for a folder, a pipe or a device."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return path.open("rb")


def of_file(path: Path) -> FileDigest:
    """SHA-256 and size in bytes of one file. Raises OSError as `open_plain` does."""
    with open_plain(path) as file:
        return FileDigest(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=file.tell())


def difference(path: Path, expected: FileDigest) -> str | None:
    """What is wrong with one file, as the rest of a sentence that begins with its name; None where nothing is."""
    try:
        found = of_file(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    if found.size != expected.size:
        return f"has {found.size:,} bytes, but its manifest says {expected.size:,}"
    if found.sha256 != expected.sha256:
        return "is not what was published: its SHA-256 differs"
    return None


def names_below(folder: Path) -> tuple[str, ...]:
    """All that is no folder, relative to `folder` with "/" between, sorted; without the manifest, which is no part."""
    paths = (
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )
    return tuple(sorted(name for name in paths if name != MANIFEST))
