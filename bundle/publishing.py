"""The only way into the repository: a version is built in a staging folder and published by one rename.

The invariant: a reader sees a version as a whole or not at all, because its manifest is written last and the folder
gets its name when everything is on the disk. What can't be published leaves nothing visible. Called by training.
"""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from bundle import digests, leftovers
from bundle.errors import BundleInvalid, PublishError
from bundle.manifest import Manifest, ManifestInvalid, decode, encode, named_files
from bundle.store import MANIFEST, VERSION, Bundle, check_labels, numbers

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """A fresh folder to build a version of model `name` in; at the end it is gone, published or not.

    It lies within the repository, which is made where it is missing, because `publish` can only rename within one
    filesystem. What builders that were killed have left there is removed first. Raises PublishError, also for what the
    filesystem refuses while the version is built.
    """
    _check_name(name)
    folder = repository / f"{leftovers.PREFIX}{name}-{secrets.token_hex(8)}"
    try:
        with suppress(FileExistsError):  # a file, of which what follows says more
            repository.mkdir(parents=True, exist_ok=True)
        leftovers.clear(repository)
        with leftovers.held(folder):
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise _refused(repository, name, error) from error


def check_place(repository: Path, name: str) -> None:
    """Raises PublishError where a version of model `name` can't be published there, as far as a look tells.

    Nothing is written, so that a mistake is told before hours of work and without a trace.
    """
    _check_name(name)
    for place in (repository, repository / name):
        try:
            check_writable(place)
        except OSError as error:
            raise _refused(repository, name, error) from error


def check_writable(folder: Path) -> None:
    """Raises OSError where files can't be made in a folder, or it can't be made itself, as far as a look tells."""
    there = folder
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def publish(staged: Path, manifest: Manifest, repository: Path, name: str, version: int | None = None) -> Bundle:
    """Makes the staged folder a version: takes the digests, writes the manifest, renames the folder into place.

    Without `version` it becomes the highest number plus one, or the one after where another publisher is faster.
    Raises PublishError, with nothing visible, where the version exists, the manifest contradicts the files or the
    filesystem refuses.
    """
    _check_name(name)
    model = repository / name
    try:
        complete = _seal(staged, manifest)
        model.mkdir(parents=True, exist_ok=True)
        path = _move_into(model, staged, version)
    except OSError as error:
        raise _refused(repository, name, error) from error
    with suppress(OSError):  # by now it is visible
        _sync(model)
        _sync(repository)
    return Bundle(path.absolute(), complete)


def _seal(staged: Path, manifest: Manifest) -> Manifest:
    """Completes the manifest with the digests of what is staged, writes it, and has everything on the disk."""
    names = digests.names_below(staged)
    for name in names:
        if (staged / name).is_symlink():
            raise PublishError(f"{name} is staged as a link, which would not outlive its target; stage a copy")
    complete = msgspec.structs.replace(manifest, files={name: digests.of_file(staged / name) for name in names})
    text = encode(complete)
    _check(staged, text)
    for name in names:
        _sync(staged / name)
    (staged / MANIFEST).write_bytes(text)
    _sync(staged / MANIFEST)
    with suppress(OSError):  # not every filesystem can sync a folder
        for folder in [*(path for path in staged.rglob("*") if path.is_dir()), staged]:
            _sync(folder)
    return complete


def _check(staged: Path, text: bytes) -> None:
    """Reads the manifest as the service will, before anybody else does."""
    try:
        manifest = decode(text)
        for name in named_files(manifest):
            if name not in manifest.files:
                raise PublishError(f"the manifest names {name!r}, but no such file is staged")
        check_labels(Bundle(staged, manifest))
    except (ManifestInvalid, BundleInvalid) as error:
        raise PublishError(f"what is staged can't be published: {error}") from error


def _move_into(model: Path, staged: Path, version: int | None) -> Path:
    """Renames the staged folder to its number; a rename never replaces a folder that has something in it."""
    while True:
        number = max(numbers(model), default=0) + 1 if version is None else version
        if not VERSION.fullmatch(str(number)):
            raise PublishError(f"version {number} of model {model.name!r} is not possible; give 1 to {10**18 - 1}")
        path = model / str(number)
        try:
            if not path.exists():
                return staged.rename(path)
        except OSError:
            if not path.exists():
                raise
        if version is not None:
            raise PublishError(f"version {version} of model {model.name!r} exists; choose another number or none")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_name(name: str) -> None:
    if not _MODEL_NAME.fullmatch(name):
        raise PublishError(
            f"model name {name!r} is not possible; use up to 128 letters, digits, dots, dashes and underscores, "
            "the first a letter or a digit"
        )


def _refused(repository: Path, name: str, error: OSError) -> PublishError:
    elsewhere = isinstance(error.filename, str | Path) and not Path(error.filename).is_relative_to(repository)
    reason = f"{error.filename}: {error.strerror}" if elsewhere else error.strerror or str(error)
    return PublishError(f"model {name!r} can't be published to {repository}: {reason}; nothing of it is visible")
