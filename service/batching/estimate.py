"""What a run of so many rows takes, learnt from the batches that were run.

An exponentially weighted mean for each bucket of sizes (1, 2, 3-4, 5-8, ...). A CNN's time hardly varies at one size,
so the mean tells nearly all. The invariant: it never holds a model back for ever. A bucket that was not run for
`STALE` batches is forgotten, and a size that is not known is taken to be as fast as the next smaller one that is.
Belongs to the event loop; fed and asked by the batcher.
"""

from typing import Final

WEIGHT: Final = 0.2  # of the newest run
ENOUGH: Final = 8  # the first runs are slower than those to come
STALE: Final = 64


class Estimate:
    """Seconds by rows; 0 while nothing is known. `longest` is no less than any of them."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._seconds: dict[int, float] = {}
        self._last: dict[int, int] = {}
        self._runs = 0

    @property
    def known(self) -> bool:
        """Whether enough was run to say anything."""
        return self._runs >= ENOUGH

    def observe(self, rows: int, seconds: float) -> None:
        """Learns from one run."""
        bucket = (rows - 1).bit_length()
        runs = self._runs = self._runs + 1
        old = self._seconds.get(bucket)
        if old is not None and runs - self._last[bucket] <= STALE:
            seconds = old + WEIGHT * (seconds - old)
        self._seconds[bucket] = seconds
        self._last[bucket] = runs
        if runs >= ENOUGH:
            self.longest = max(self._seconds.values())

    def seconds(self, rows: int) -> float:
        """How long a run of so many rows takes."""
        if self.known:
            for bucket in range((rows - 1).bit_length(), -1, -1):
                if bucket in self._seconds and self._runs - self._last[bucket] <= STALE:
                    return self._seconds[bucket]
        return 0.0
