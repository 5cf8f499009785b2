"""The pictures that a foreign model is proved and kept honest with: the user's own, or made here.

Made pictures are the same every time: noise, gradients and shapes, in the input's own size and in sizes that have to
be enlarged, cut down and squeezed, as PNG and JPEG, in colour and grey. They show a wrong graph, not a wrong model:
whether the model knows what it sees, only the user's pictures tell. Called by `publish`.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.errors import ImageError
from bundle.manifest import Preprocessing
from bundle.preprocessing import decode
from training.datasets.encoding import encode
from training.errors import ConfigInvalid

MOST_GOLDEN = 32

_NAMED = 20  # pictures that can't be used which are named one by one
# The model's size is not known yet, but a damaged file can't be decoded to any other.
_ANY_SIZE = Preprocessing(input="any", height=32, width=32, channels=3)
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
# Height and width as parts of the input's: as it is, larger, portrait, landscape, smaller.
_SIZES = ((1.0, 1.0), (2.0, 2.0), (1.5, 1.0), (1.0, 1.7), (0.6, 0.6))
_SEED = 0


@dataclass(frozen=True, slots=True)
class Folder:
    """The pictures in a folder; `labelled` are those below subfolders that have labels' names, with their classes."""

    files: tuple[Path, ...]
    labelled: tuple[tuple[Path, int], ...] = ()

    def golden(self) -> tuple[Path, ...]:
        """At most MOST_GOLDEN of them, spread evenly over the classes or over all."""
        if self.labelled:
            classes = [[file for file, _ in group] for _, group in groupby(self.labelled, key=lambda one: one[1])]
            turns = sorted((turn, number) for number, files in enumerate(classes) for turn in range(len(files)))
            return tuple(classes[number][turn] for turn, number in turns[:MOST_GOLDEN])
        chosen = np.linspace(0, len(self.files) - 1, min(MOST_GOLDEN, len(self.files))).round().astype(int)
        return tuple(self.files[index] for index in chosen)


def find(folder: Path, labels: tuple[str, ...]) -> Folder:
    """The pictures in the folder and in the folders in it. Raises ConfigInvalid."""
    if not folder.is_dir():
        raise ConfigInvalid(f"--golden {folder}: there is no such folder; give one that holds pictures")
    below = {place.name: _pictures(place.iterdir()) for place in sorted(folder.iterdir()) if place.is_dir()}
    below = {name: files for name, files in below.items() if files}
    files = (*_pictures(folder.iterdir()), *(file for files in below.values() for file in files))
    if not files:
        raise ConfigInvalid(
            f"--golden {folder}: there are no pictures ({', '.join(sorted(_SUFFIXES))}) in it; put them into it, or "
            f"into folders in it that are named by label, as {folder.name}/{labels[0]}/1.jpg"
        )
    known = below.keys() & set(labels)
    if known and (strange := below.keys() - known):
        raise ConfigInvalid(
            f"--golden {folder}: {min(strange)!r} is not one of the labels, though {min(known)!r} is; name every "
            "folder by its pictures' label, or none"
        )
    labelled = [(file, labels.index(name)) for name in known for file in below[name]]
    return Folder(files, tuple(sorted(labelled, key=lambda one: (one[1], one[0]))))


def usable(folder: Folder, say: Callable[[str], None]) -> Folder:
    """The folder without the pictures that can't be decoded, of which `say` is told by name.

    Raises ConfigInvalid where none is left. Takes some milliseconds a picture.
    """
    with ThreadPoolExecutor() as threads:
        reasons = dict(zip(folder.files, threads.map(_flaw, folder.files), strict=True))
    flawed = [(file, reason) for file, reason in reasons.items() if reason]
    if len(flawed) == len(folder.files):
        file, reason = flawed[0]
        raise ConfigInvalid(
            f"--golden: not one of {len(flawed):,} pictures can be used, as {file}: {reason}; mend them"
        )
    for file, reason in flawed[:_NAMED]:
        say(f"skipped {file}: {reason}")
    if len(flawed) > _NAMED:
        say(f"skipped {len(flawed) - _NAMED:,} more pictures that can't be used")
    good = tuple(file for file in folder.files if not reasons[file])
    return Folder(good, tuple((file, label) for file, label in folder.labelled if not reasons[file]))


def _flaw(file: Path) -> str:
    """Why a file can't be decoded, "" where it can."""
    try:
        decode(file.read_bytes(), _ANY_SIZE)
    except (ImageError, OSError) as error:
        return str(error)
    return ""


def _pictures(files: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(file for file in files if file.suffix.lower() in _SUFFIXES and file.is_file()))


def read(files: Iterable[Path]) -> dict[str, bytes]:
    """The files' bytes as they are, by their paths in the bundle."""
    return {f"golden/{number:02}{file.suffix.lower()}": file.read_bytes() for number, file in enumerate(files)}


def pixels(file: Path, spec: Preprocessing) -> NDArray[np.uint8]:
    """A file's pixels as a server would have them. Raises ConfigInvalid, which names the file."""
    try:
        return decode(file.read_bytes(), spec)
    except (ImageError, OSError) as error:
        raise ConfigInvalid(f"--golden: {file} can't be used: {error}; mend or remove it") from error


def generated(spec: Preprocessing) -> dict[str, bytes]:
    """Encoded pictures by their paths in the bundle: every motif in every size, every second as a JPEG."""
    random = np.random.default_rng(_SEED)
    files: dict[str, bytes] = {}
    for motif in (_noise, _gradient, _shapes):
        for rows, columns in _SIZES:
            number = len(files)
            picture = motif(random, max(2, round(spec.height * rows)), max(2, round(spec.width * columns)))
            grey = number % 4 == 3  # noqa: PLR2004
            shown = picture[..., :1] if grey else picture
            if number % 2:
                files[f"golden/{number:02}.jpg"] = encode(shown, "JPEG")
            else:
                files[f"golden/{number:02}.png"] = encode(shown)
    return files


def _noise(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    return random.integers(0, 256, (height, width, 3), np.uint8)


def _gradient(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Every colour rises in a direction of its own."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    slopes = random.uniform(-1, 1, (2, 3))
    rising = rows[..., np.newaxis] * slopes[0] + columns[..., np.newaxis] * slopes[1]
    lowest, highest = rising.min(axis=(0, 1)), rising.max(axis=(0, 1))
    shades: NDArray[np.uint8] = (255 * (rising - lowest) / (highest - lowest)).round().astype(np.uint8)
    return shades


def _shapes(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Discs of random colours, places and sizes on a random ground."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = random.integers(0, 256, 3)
    for _ in range(5):
        row, column, radius = *random.uniform(0, 1, 2), random.uniform(0.1, 0.4)
        picture[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = random.integers(0, 256, 3)
    return picture
