"""The repository on disk: `<repository>/<model>/<version>/`, and the only way in and out of it.

A version is published when its `manifest.json` is there. It is built in a staging folder that readers pass over, its
manifest is written last, and one rename brings it in: a reader sees a version as a whole or not at all. Training
publishes; the service, batch jobs and `convoy verify` read.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bundle import digests
from bundle.errors import BundleInvalid, BundleNotFound, PublishError
from bundle.manifest import Manifest, ManifestInvalid, Variant, decode, encode, named_files

MANIFEST = digests.MANIFEST
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LISTED = 20  # names in one sentence
_VERSION = re.compile(r"[1-9][0-9]{0,17}")  # "1", never "01", so a number has one folder; within every protocol's int64


@dataclass(frozen=True, slots=True)
class Bundle:
    """One published version: its folder and its manifest. Every other file is read when it is asked for."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The model's name, which is the name of the folder above the version's."""
        return self.path.parent.name

    @property
    def version(self) -> int:
        """The version's number, which is the name of its folder."""
        return int(self.path.name)

    def variant(self, name: str) -> Variant:
        """The variant of that name. Raises BundleInvalid, which lists those there are."""
        declared = {variant.name: variant for variant in self.manifest.variants}
        if name not in declared:
            raise BundleInvalid(self.path, f"there is no variant {name!r}; choose from {_listed(declared)}")
        return declared[name]

    def labels(self, head: str) -> tuple[str, ...]:
        """The labels of one head in the order of its classes, from UTF-8, one a line. Raises BundleInvalid."""
        declared = {one.name: one.labels for one in self.manifest.heads}
        if head not in declared:
            raise BundleInvalid(self.path, f"there is no head {head!r}; choose from {_listed(declared)}")
        try:
            lines = self._read(declared[head]).decode().removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise BundleInvalid(self.path, f"{declared[head]} is not UTF-8: {error}") from error
        return tuple(line.removesuffix("\r") for line in lines)

    def golden_images(self, input: str) -> list[bytes]:  # noqa: A002 - it is the field's word, and the manifest's
        """The encoded golden pictures of one input, in the order of the golden outputs. Raises BundleInvalid."""
        names = self.manifest.golden.images.get(input)
        if names is None:
            raise BundleInvalid(self.path, f"there are no golden pictures for input {input!r}; publish it with some")
        return [self._read(name) for name in names]

    def golden_outputs(self) -> dict[str, NDArray[np.generic]]:
        """What the golden pictures must give: for every output and explanation of the signature [samples, ...].

        Raises BundleInvalid where the file can't be read or its arrays are not those.
        """
        name = self.manifest.golden.outputs
        try:
            with digests.open_plain(self.path / name) as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
        except Exception as error:  # what is no archive, or a damaged one, fails in many ways
            raise BundleInvalid(self.path, f"{name} can't be read as .npz: {error}") from error
        signature = self.manifest.signature
        outputs = sorted(spec.name for spec in (*signature.outputs, *signature.explanations))
        if sorted(arrays) != outputs:
            raise BundleInvalid(self.path, f"{name} holds {_listed(arrays)}, but the outputs are {_listed(outputs)}")
        for images in self.manifest.golden.images.values():
            if any(array.shape[:1] != (len(images),) for array in arrays.values()):
                raise BundleInvalid(self.path, f"{name} does not hold one sample for each of {len(images)} pictures")
        return arrays

    def _read(self, name: str) -> bytes:
        try:
            with digests.open_plain(self.path / name) as file:
                return file.read()
        except OSError as error:
            raise BundleInvalid(self.path, f"{name} can't be read: {error.strerror}") from error


def models(repository: Path) -> tuple[str, ...]:
    """The names of the models with at least one published version, sorted.

    Passed over are hidden folders, those that may not be listed, such as a volume's lost+found, and those whose names
    can't be shown, because they are not UTF-8 or hold control characters. Raises BundleNotFound where the repository,
    or a model in it, can't be read.
    """
    try:
        entries = sorted(entry.name for entry in repository.iterdir())
    except OSError as error:
        raise BundleNotFound(repository, f"the repository can't be listed: {error.strerror}") from error
    names = (name for name in entries if name.isprintable() and not name.startswith("."))
    return tuple(name for name in names if versions(repository / name))


def versions(model: Path) -> tuple[int, ...]:
    """The published versions in one model's folder, ascending; none where there is no folder that may be listed.

    Raises BundleNotFound where the disk fails: a version must not seem to be gone because it can't be seen.
    """
    try:
        return tuple(sorted(number for number in _numbers(model) if _is_published(model / str(number))))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ()
    except OSError as error:
        raise BundleNotFound(model, f"the model's folder can't be listed: {error.strerror}") from error


def _numbers(model: Path) -> list[int]:
    return [int(entry.name) for entry in model.iterdir() if _VERSION.fullmatch(entry.name)]


def _is_published(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file()
    except PermissionError:
        return True  # so that opening it gives the reason, where hiding it would give none


def open_bundle(path: Path) -> Bundle:
    """Opens one version's folder: reads its manifest and compares its labels with its outputs.

    Digests are another step, `verify_files`. Raises BundleNotFound where no version is published at `path`, and
    BundleInvalid where what is there breaks the contract.
    """
    path = path.absolute() if _VERSION.fullmatch(path.absolute().name) else path.resolve()
    try:
        with digests.open_plain(path / MANIFEST) as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleNotFound(path, f"no version is published here: there is no {MANIFEST}") from None
    except OSError as error:
        raise BundleInvalid(path, f"{MANIFEST} can't be read: {error.strerror}") from error
    if not _VERSION.fullmatch(path.name):
        raise BundleInvalid(path, "a version's folder is named by its number, as in models/flowers/3; rename it")
    try:
        opened = Bundle(path, decode(text))
    except ManifestInvalid as error:
        raise BundleInvalid(path, f"{MANIFEST}: {error}") from error
    _check_labels(opened)
    return opened


def resolve(path: Path) -> Path:
    """The version's folder that a path means: itself, a model's highest version, or that of a repository's only model.

    Raises BundleNotFound, whose sentence says what is there instead.
    """
    try:
        return _resolved(path)
    except OSError as error:
        raise BundleNotFound(path, f"it can't be read: {error.strerror}") from error


def _resolved(path: Path) -> Path:
    if _is_published(path):
        return path
    if numbers := versions(path):
        return path / str(numbers[-1])
    if not path.is_dir():
        problem = "it is a file; give a folder" if path.exists() else "there is no such folder; check the path"
        raise BundleNotFound(path, problem)
    names = models(path)
    if len(names) == 1:
        return resolve(path / names[0])
    if names:
        raise BundleNotFound(path, f"there are {len(names)} models, give the folder of one: {_listed(names)}")
    raise BundleNotFound(path, f"nothing is published here; a version is <model>/<number>/{MANIFEST}")


def verify_files(bundle: Bundle) -> None:
    """Every file is byte for byte what was published, and there is no other, hidden ones apart.

    Reads every byte of the version. Raises BundleInvalid, which names the first file that is missing, changed or extra.
    """
    if not bundle.manifest.files:
        raise BundleInvalid(bundle.path, "its manifest holds no digests, so nothing can be verified; publish it again")
    for name, expected in bundle.manifest.files.items():
        problem = digests.difference(bundle.path / name, expected)
        if problem:
            raise BundleInvalid(bundle.path, f"{name} {problem}; copy the version again")
    for name in digests.names_below(bundle.path):
        if name not in bundle.manifest.files and not any(part.startswith(".") for part in Path(name).parts):
            raise BundleInvalid(bundle.path, f"{name} is not in its manifest; remove the file or publish it again")


@contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """A fresh folder to build a version of model `name` in; at the end it is gone, published or not.

    It lies within the repository, which is made where it is missing, because `publish` can only rename within one
    filesystem. Raises PublishError, also for what the filesystem refuses while the version is built.
    """
    _check_name(name)
    folder = repository / f".staging-{name}-{secrets.token_hex(8)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise _refused(repository, name, error) from error
    try:
        yield folder
    except OSError as error:
        raise _refused(repository, name, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
        _check_labels(Bundle(staged, manifest))
    except (ManifestInvalid, BundleInvalid) as error:
        raise PublishError(f"what is staged can't be published: {error}") from error


def _move_into(model: Path, staged: Path, version: int | None) -> Path:
    """Renames the staged folder to its number; a rename never replaces a folder that has something in it."""
    while True:
        number = max(_numbers(model), default=0) + 1 if version is None else version
        if not _VERSION.fullmatch(str(number)):
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


def _check_labels(bundle: Bundle) -> None:
    classes = {spec.name: spec.shape[-1] for spec in bundle.manifest.signature.outputs}
    for head in bundle.manifest.heads:
        count, expected = len(bundle.labels(head.name)), classes[head.output]
        if expected not in {None, count}:
            problem = f"{head.labels} has {count} labels, but output {head.output!r} has {expected} classes"
            raise BundleInvalid(bundle.path, problem)


def _refused(repository: Path, name: str, error: OSError) -> PublishError:
    elsewhere = isinstance(error.filename, str | Path) and not Path(error.filename).is_relative_to(repository)
    reason = f"{error.filename}: {error.strerror}" if elsewhere else error.strerror or str(error)
    return PublishError(f"model {name!r} can't be published to {repository}: {reason}; nothing of it is visible")


def _listed(names: Iterable[str]) -> str:
    first, rest = list(names)[:_LISTED], list(names)[_LISTED:]
    return ", ".join(map(repr, first)) + (f" and {len(rest)} more" if rest else "") or "nothing"
