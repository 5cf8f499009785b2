"""How fast rows leave while every instance is at work, learnt from the batches that come back.

A run's seconds tell too little where other work shares the cores: between two runs an instance waits for its thread and
for the event loop, and several instances slow each other. All of that is in the time from one batch's end to the next
one's. The invariant: 0 where nothing is known, and what was not renewed for `STALE` batches is forgotten, so that it
never holds a model back for ever. Belongs to the event loop; fed and asked by the batcher.
"""

import math
from typing import Final

from service.batching.estimate import ENOUGH, STALE

KEPT: Final = 0.95  # of what was known, with each new batch


class Throughput:
    """Seconds a row, of all instances together."""

    def __init__(self) -> None:
        self.seconds_per_row = 0.0
        self._seconds = 0.0
        self._rows = 0.0
        self._learnt = 0
        self._unlearnt = 0
        self._began = math.nan

    def observe(self, rows: int, now: float, *, busy: bool) -> None:
        """A batch is back of which so many rows were run; `busy`: every instance, this one too, is at work again.

        One that failed as a whole says nothing, neither by its rows nor by its time.
        """
        if math.isnan(self._began) or not rows:
            self._forget()
        else:
            self._learn(rows, now - self._began)
        self._began = now if busy else math.nan

    def _learn(self, rows: int, seconds: float) -> None:
        self._unlearnt = 0
        self._learnt += 1
        self._seconds = KEPT * self._seconds + seconds
        self._rows = KEPT * self._rows + rows
        if self._learnt >= ENOUGH:
            self.seconds_per_row = self._seconds / self._rows

    def _forget(self) -> None:
        self._unlearnt += 1
        if self._unlearnt > STALE:
            self.seconds_per_row = self._seconds = self._rows = 0.0
            self._learnt = 0
