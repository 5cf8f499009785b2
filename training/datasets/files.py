"""A dataset of the user's own picture files: a folder of class folders, or a table of paths and labels.

From listing to splits: digests, decoded pixels, bad pictures reported by name. The splits are consecutive parts of one
memory-mapped file, so a dataset may be larger than memory. Called through `training.datasets.load`.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Preprocessing
from training.datasets import filedigests, folder, listing, table
from training.datasets.dataset import Dataset, Kernel, Resize, Split
from training.datasets.listing import Listed
from training.datasets.pixels import decoded
from training.errors import DatasetCorrupt, DatasetUnavailable

_NAMED = 20  # bad pictures that are named one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How files become a dataset: their pixels, what a bad one means, and the shares of splits nobody chose."""

    height: int = 64
    width: int = 64
    channels: Literal[1, 3] = 3
    resize: Resize = "crop"
    kernel: Kernel = "bilinear"
    bad_pictures: Literal["skip", "fail"] = "skip"
    validation_share: float = 0.1
    test_share: float = 0.1

    def preprocessing(self) -> Preprocessing:
        """The pixels' part, in the words of the manifest."""
        return Preprocessing(
            input="image",
            height=self.height,
            width=self.width,
            channels=self.channels,
            resize=self.resize,
            kernel=self.kernel,
        )


def load(source: Path, options: FileOptions, cache: Path, say: Callable[[str], None]) -> Dataset:
    """Reads a folder of class folders, or a .csv or .parquet table.

    Raises DatasetUnavailable for what can't be read or kept, DatasetCorrupt for what can't be trained on and, where
    `options.bad_pictures` is "fail", for the first picture that can't be used.
    """
    listed = _listed(source, options, say)
    names = listing.class_names(listed, source)
    unread, listed = _with_digests(listed, cache / _memory_name(source), say)
    listed = listing.assigned(listed, options.validation_share, options.test_share)
    pixels = decoded(listed, options.preprocessing(), cache, say)
    bad = unread | {listed[position].path: reason for position, reason in pixels.bad.items()}
    _report(bad, options, say)
    good = [picture for position, picture in enumerate(listed) if position not in pixels.bad]
    listing.check(good, names, source)
    train, validation, test = _splits(good, names, pixels.images)
    return Dataset(
        name=name_of_files(source),
        class_names=names,
        train=train,
        validation=validation,
        test=test,
        digest=_digest(good),
        resize=options.resize,
        kernel=options.kernel,
    )


def name_of_files(source: Path) -> str:
    """What a dataset of files is called: as its folder, or as its table without the ending. It need not be there."""
    source = source.resolve()
    is_table = source.suffix.lower() in table.SUFFIXES and not source.is_dir()
    return source.stem if is_table else source.name


def check(source: Path) -> None:
    """Raises DatasetUnavailable for a source that is neither a folder nor a table, before any picture is read."""
    if source.is_dir() or (source.is_file() and source.suffix.lower() in table.SUFFIXES):
        return
    problem = "it is neither a folder nor a .csv or .parquet table" if source.exists() else "there is no such folder"
    raise DatasetUnavailable(f"{source} can't be read as pictures with labels: {problem}")


def _listed(source: Path, options: FileOptions, say: Callable[[str], None]) -> list[Listed]:
    check(source)
    if not source.is_dir():
        return table.pictures(source)
    listed, empty = folder.pictures(source)
    known = {picture.label for picture in listed}
    for path in empty:
        if options.bad_pictures == "fail":
            raise DatasetCorrupt(
                f"the class folder {path} has no picture; add some, remove the folder, or let it be passed over by "
                "--bad-pictures skip"
            )
        effect = "nothing is measured of this class there" if path.name in known else "the model won't know this class"
        say(f"WARNING: the class folder {_shown(path)} has no picture, so {effect}; add some, or remove the folder")
    return listed


def _memory_name(source: Path) -> str:
    return f"digests/{hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:32]}.json"


def _with_digests(
    listed: Sequence[Listed], memory: Path, say: Callable[[str], None]
) -> tuple[dict[Path, str], list[Listed]]:
    """The files that can't be read, with the reason; and all others, with their digests."""
    found = list(zip(listed, filedigests.of_files([one.path for one in listed], memory, say), strict=True))
    unread = {one.path: digest.strerror or str(digest) for one, digest in found if isinstance(digest, OSError)}
    return unread, [replace(one, digest=digest) for one, digest in found if isinstance(digest, str)]


def _shown(path: Path) -> str:
    """The path as text that can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _report(bad: Mapping[Path, str], options: FileOptions, say: Callable[[str], None]) -> None:
    for path, reason in sorted((_shown(path), reason) for path, reason in bad.items())[:_NAMED]:
        if options.bad_pictures == "fail":
            raise DatasetCorrupt(
                f"{path}: {reason}; mend or remove it, or let bad pictures be passed over by --bad-pictures skip"
            )
        say(f"skipped {path}: {reason}")
    if len(bad) > _NAMED:
        say(f"skipped {len(bad) - _NAMED:,} more pictures that can't be used")


def _splits(good: Sequence[Listed], names: Sequence[str], images: NDArray[np.uint8]) -> tuple[Split, ...]:
    number = {name: position for position, name in enumerate(names)}
    labels = np.array([number[picture.label] for picture in good], np.int64)
    splits, start = [], 0
    for split in listing.SPLITS:
        files = [picture.path for picture in good if picture.split == split]
        end = start + len(files)
        splits.append(Split(images[start:end], labels[start:end], files))
        start = end
    return tuple(splits)


def _digest(good: Sequence[Listed]) -> str:
    lines = sorted(f"{picture.split} {picture.digest} {picture.label}\n" for picture in good)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"
