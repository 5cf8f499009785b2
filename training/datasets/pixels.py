"""Decodes picture files once, in parallel, into one memory-mapped file of uint8 pixels.

The file's name is the digest of all that decides its content: the pictures' own digests in their order, the
preprocessing and the decoder's version. It gets that name when it is complete, so a killed run leaves nothing that
could be taken for it; two runs that want the same file make it once. Pictures are decoded by `bundle.preprocessing`,
as the server will do it. Called by `files`.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import PIL
from numpy.typing import NDArray

from bundle.errors import ImageError
from bundle.manifest import Preprocessing
from bundle.preprocessing import decode
from training.atomic import write_atomically
from training.datasets.listing import Listed
from training.errors import DatasetUnavailable

_AHEAD = 64  # pictures a thread, decoded before the file has taken them


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """`images`, uint8 [good, height, width, channels], read-only; `bad` says by position why a picture is not there."""

    images: NDArray[np.uint8]
    bad: dict[int, str]


def decoded(pictures: Sequence[Listed], spec: Preprocessing, cache: Path, say: Callable[[str], None]) -> Decoded:
    """The pixels of every picture that can be decoded, in order, from the cache or by decoding now.

    Raises DatasetUnavailable where the cache can't be written, with the space it needs.
    """
    path = cache / "pixels" / f"{_key(pictures, spec)}.pixels"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with _alone(path.with_suffix(".part")) as part:
                if path.exists():  # another process has made it meanwhile
                    Path(part.name).unlink(missing_ok=True)
                else:
                    _fill(part, path, pictures, spec, say)
        return _open(path, len(pictures), spec)
    except OSError as error:
        raise DatasetUnavailable(
            f"the decoded pictures can't be kept in {path.parent}: {error.strerror or error}; "
            f"they need {_size(pictures, spec) / 2**20:,.0f} MiB: make room, or choose another folder by --cache"
        ) from error


def _key(pictures: Sequence[Listed], spec: Preprocessing) -> str:
    parts = (msgspec.json.encode(spec), PIL.__version__.encode(), *(picture.digest.encode() for picture in pictures))
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def _size(pictures: Sequence[Listed], spec: Preprocessing) -> int:
    return len(pictures) * spec.height * spec.width * spec.channels


@contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """The unfinished file, while no other process has it. A killed process lets go of it."""
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _fill(
    part: IO[bytes], path: Path, pictures: Sequence[Listed], spec: Preprocessing, say: Callable[[str], None]
) -> None:
    if shutil.disk_usage(path.parent).free < _size(pictures, spec):
        raise OSError("there is not enough room")
    began = time.monotonic()
    part.truncate(0)  # of what a killed run has left
    bad = {}
    threads = os.cpu_count() or 1
    for position, result in enumerate(_in_order(pictures, spec, threads)):
        if isinstance(result, str):
            bad[position] = result
        else:
            part.write(result.data)
    part.flush()
    os.fsync(part.fileno())
    write_atomically(path.with_suffix(".json"), json.dumps({"bad": bad}).encode())
    Path(part.name).rename(path)
    seconds = time.monotonic() - began
    say(
        f"decoded {len(pictures):,} pictures in {seconds:.1f} s with {threads} threads, "
        f"{len(pictures) / max(seconds, 1e-9):,.0f} a second, into {path}"
    )


def _in_order(pictures: Iterable[Listed], spec: Preprocessing, threads: int) -> Iterator[NDArray[np.uint8] | str]:
    """Every picture's pixels or what is wrong with it, with only so many of them in memory."""

    def read(picture: Listed) -> NDArray[np.uint8] | str:
        try:
            return decode(picture.path.read_bytes(), spec)
        except (ImageError, OSError) as error:
            return str(error)

    rest = iter(pictures)
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(rest, _AHEAD * threads)):
            yield from pool.map(read, some)


def _open(path: Path, count: int, spec: Preprocessing) -> Decoded:
    bad = json.loads(path.with_suffix(".json").read_bytes())["bad"]
    shape = (count - len(bad), spec.height, spec.width, spec.channels)
    images = np.memmap(path, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8)
    return Decoded(images, {int(position): reason for position, reason in bad.items()})
