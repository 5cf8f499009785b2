"""The versions that could not be loaded, and when each gets another chance.

A version may fail for what passes, such as no memory or a mount that stalls, so it is tried again after ever longer
pauses, and at once when its files change. One whose files were not whole may still be being copied: that it is not is
known when they stood still from look to look. Owned by `service.models.loads`.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.models.repository import Stamp

RETRY_SECONDS: Final = 30.0
STILL_LOOKS: Final = 2
"""After so many looks in a row that found nothing new, a version's files are no longer being copied."""

_LONGEST_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Files:
    """A version's files at the last look, and how many looks before it in a row found the same."""

    stamp: Stamp
    still: int = 0


@dataclass(frozen=True, slots=True)
class _Failure:
    stamp: Stamp
    pause: float
    until: float


class Failures:
    """What failed, by the version's folder; the first pause takes `pause` seconds."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._files: dict[Path, _Files] = {}
        self._failed: dict[Path, _Failure] = {}
        self._copied: set[Path] = set()

    def look(self, path: Path, now: Stamp) -> None:
        """Takes how the files of a version that is not loaded are at this look."""
        before = self._files.get(path)
        self._files[path] = _Files(now, before.still + 1 if before and before.stamp == now else 0)

    def moves(self, path: Path) -> bool:
        """Whether its files changed lately, and since it failed if it did."""
        files, failure = self._files[path], self._failed.get(path)
        return files.still < STILL_LOOKS and (failure is None or failure.stamp != files.stamp)

    def stands(self, path: Path) -> bool:
        """Whether it failed, nothing of its files changed since, and it is not yet time to try it again."""
        files, failure = self._files[path], self._failed.get(path)
        if path in self._copied:
            return 0 < files.still < STILL_LOOKS
        return failure is not None and files.stamp == failure.stamp and time.monotonic() < failure.until

    def wait_for_files(self, path: Path) -> None:
        """It failed as what is still being copied does."""
        self._copied.add(path)

    def add(self, path: Path) -> None:
        """It failed, with its files as they were at the last look."""
        now, before = self._files[path].stamp, self._failed.get(path)
        again = before is not None and before.stamp == now
        pause = min(2 * before.pause, _LONGEST_SECONDS) if before and again else self._pause
        self._copied.discard(path)
        self._failed[path] = _Failure(now, pause, time.monotonic() + pause)

    def forget(self, path: Path) -> None:
        """It was loaded."""
        self._copied.discard(path)
        self._files.pop(path, None)
        self._failed.pop(path, None)

    def forget_all_of(self, model: Path) -> None:
        """What its versions failed for may be gone."""
        self._failed = {path: failure for path, failure in self._failed.items() if path.parent != model}
