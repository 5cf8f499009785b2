"""Which files a dataset has, what is on them, and to which split each belongs.

A picture whose split nobody chose gets it from the digest of its content: adding pictures never moves old ones to
another split, and a copy of a picture is always on the same side as the original. Made by `folder` and `table`, used by
`files`.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from training.errors import DatasetCorrupt

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
# What people call them.
SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_HASH_DIGITS = 16
_LEAST_CLASSES = 2
# Control characters, ends of lines and paragraphs, and what stands for bytes that are not UTF-8.
_NOT_IN_LABELS = frozenset({"Cc", "Zl", "Zp", "Cs"})


@dataclass(frozen=True, slots=True)
class Listed:
    """One picture. `split` is None where the hash decides; `digest`, hex SHA-256 of the file, "" until it is known."""

    path: Path
    label: str
    split: SplitName | None = None
    digest: str = ""


def class_names(listing: Sequence[Listed], source: Path) -> tuple[str, ...]:
    """The labels in alphabetical order.

    Raises DatasetCorrupt where there are fewer than two, or where one can't stand on a line of its own.
    """
    names = sorted({picture.label for picture in listing})
    if len(names) < _LEAST_CLASSES:
        there = f"only the class {names[0]!r}" if names else "no picture"
        raise DatasetCorrupt(f"{source} has {there}, but a classifier needs pictures of at least two classes")
    for name in names:
        if any(unicodedata.category(character) in _NOT_IN_LABELS for character in name):
            raise DatasetCorrupt(
                f"{source} has the class {name!r}; a label is one line of UTF-8 without control characters; rename it"
            )
    return tuple(names)


def assigned(listing: Sequence[Listed], validation: float, test: float) -> list[Listed]:
    """The listing with a split for every picture, ordered by split and then by digest, so as if shuffled.

    `validation` and `test` are the shares that these splits get where the source itself does not have them.
    """
    chosen = {picture.split for picture in listing}
    shares = (0.0 if "validation" in chosen else validation), (0.0 if "test" in chosen else test)
    placed = [replace(picture, split=_split(picture, *shares)) for picture in listing]
    return sorted(placed, key=lambda picture: (SPLITS.index(picture.split or "train"), picture.digest, picture.label))


def _split(picture: Listed, validation: float, test: float) -> SplitName:
    if picture.split in {"validation", "test"}:
        return picture.split
    place = int(picture.digest[:_HASH_DIGITS], 16) / 16**_HASH_DIGITS
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def check(listing: Sequence[Listed], names: Sequence[str], source: Path) -> None:
    """Raises DatasetCorrupt where a split has no picture, or a class none to train on."""
    for split in SPLITS:
        if not any(picture.split == split for picture in listing):
            raise DatasetCorrupt(
                f"{source} gives the {split} split no picture ({len(listing):,} in all); add pictures, or say which "
                "they are by folders train, val and test, or by a column 'split'"
            )
    trained = {picture.label for picture in listing if picture.split == "train"}
    missing = [name for name in names if name not in trained]
    if missing:
        raise DatasetCorrupt(
            f"{source} has no usable picture to train the class {missing[0]!r} on; add some, or remove the class"
        )
