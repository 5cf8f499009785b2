"""The SHA-256 of many files, read once: a file whose size and time of change are still the same is not read again.

The memory of it is one JSON file in the cache, replaced as a whole. Called by `files`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from training.atomic import write_atomically

Stamp = tuple[int, int]


def of_files(files: Sequence[Path], memory: Path, say: Callable[[str], None]) -> list[str | OSError]:
    """The hex digest of each file, or the error that reading it gave, in order. `memory` is the JSON file."""
    known = _known(memory)
    new = sum(_remembered(known, path) is None for path in files)
    if new:
        say(f"reading {new:,} of {len(files):,} pictures that are new or changed")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(lambda path: _digest(known, path), files))
    if new:
        seen = {str(path): one for path, one in zip(files, found, strict=True) if isinstance(one, tuple)}
        with suppress(OSError):  # a memory that can't be kept costs time only
            write_atomically(memory, json.dumps(seen).encode())
    return [one if isinstance(one, OSError) else one[2] for one in found]


def _digest(known: dict[str, list[object]], path: Path) -> tuple[int, int, str] | OSError:
    try:
        size, changed = _stamp(path)
        digest = _remembered(known, path)
        if digest is None:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error
    return size, changed, digest


def _remembered(known: dict[str, list[object]], path: Path) -> str | None:
    entry = known.get(str(path))
    try:
        return str(entry[2]) if entry and tuple(entry[:2]) == _stamp(path) else None
    except OSError:
        return None


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _known(memory: Path) -> dict[str, list[object]]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
