"""The versions that could not be loaded, and when each gets another chance.

A version may fail for what passes, such as no memory or a mount that stalls, so it is tried again after ever longer
pauses, and at once when its files change. Owned by the registry.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.models.repository import Stamp

RETRY_SECONDS: Final = 30.0
_LONGEST_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Failure:
    stamp: Stamp
    pause: float
    until: float


class Failures:
    """What failed, by the version's folder; the first pause takes `pause` seconds."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._failed: dict[Path, _Failure] = {}

    def stands(self, path: Path, now: Stamp) -> bool:
        """Whether it failed, nothing of its files changed since, and the pause is not over."""
        failure = self._failed.get(path)
        return failure is not None and now == failure.stamp and time.monotonic() < failure.until

    def add(self, path: Path, now: Stamp) -> None:
        """It failed, with its files as they are now."""
        before = self._failed.get(path)
        again = before is not None and before.stamp == now
        pause = min(2 * before.pause, _LONGEST_SECONDS) if before and again else self._pause
        self._failed[path] = _Failure(now, pause, time.monotonic() + pause)

    def forget(self, path: Path) -> None:
        """It was loaded."""
        self._failed.pop(path, None)

    def forget_all_of(self, model: Path) -> None:
        """What its versions failed for may be gone."""
        self._failed = {path: failure for path, failure in self._failed.items() if path.parent != model}
