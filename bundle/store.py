"""The repository on disk, `<repository>/<model>/<version>/`, as it is read; `bundle.publishing` writes it.

A version is published when its `manifest.json` is there; staging folders are passed over, so that a version is seen as
a whole or not at all. Read by the service, batch jobs, `convoy verify` and training's reports.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle import digests
from bundle.errors import BundleInvalid, BundleNotFound
from bundle.manifest import Manifest, ManifestInvalid, Variant, decode

MANIFEST = digests.MANIFEST
_LISTED = 20  # names in one sentence
VERSION = re.compile(r"[1-9][0-9]{0,17}")  # "1", never "01", so a number has one folder; within every protocol's int64


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
        return tuple(sorted(number for number in numbers(model) if _is_published(model / str(number))))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ()
    except OSError as error:
        raise BundleNotFound(model, f"the model's folder can't be listed: {error.strerror}") from error


def numbers(model: Path) -> list[int]:
    """The numbers of all versions' folders of a model, published or not. Raises OSError."""
    return [int(entry.name) for entry in model.iterdir() if VERSION.fullmatch(entry.name)]


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
    path = path.absolute() if VERSION.fullmatch(path.absolute().name) else path.resolve()
    try:
        with digests.open_plain(path / MANIFEST) as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleNotFound(path, f"no version is published here: there is no {MANIFEST}") from None
    except OSError as error:
        raise BundleInvalid(path, f"{MANIFEST} can't be read: {error.strerror}") from error
    if not VERSION.fullmatch(path.name):
        raise BundleInvalid(path, "a version's folder is named by its number, as in models/flowers/3; rename it")
    try:
        opened = Bundle(path, decode(text))
    except ManifestInvalid as error:
        raise BundleInvalid(path, f"{MANIFEST}: {error}") from error
    check_labels(opened)
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
    if published := versions(path):
        return path / str(published[-1])
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


def check_labels(bundle: Bundle) -> None:
    """Raises BundleInvalid unless every head has as many labels as its output has classes."""
    classes = {spec.name: spec.shape[-1] for spec in bundle.manifest.signature.outputs}
    for head in bundle.manifest.heads:
        count, expected = len(bundle.labels(head.name)), classes[head.output]
        if expected not in {None, count}:
            problem = f"{head.labels} has {count} labels, but output {head.output!r} has {expected} classes"
            raise BundleInvalid(bundle.path, problem)


def _listed(names: Iterable[str]) -> str:
    first, rest = list(names)[:_LISTED], list(names)[_LISTED:]
    return ", ".join(map(repr, first)) + (f" and {len(rest)} more" if rest else "") or "nothing"
