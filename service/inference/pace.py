"""How fast a decoding thread is, learnt from what was decoded.

Seconds for work (`service.inference.decoding`), because a thumbnail and a photo differ by a hundred times in time and
much less by this. These are seconds by the clock, so other work on the same cores is in them, and the latest groups
count most. The invariant: 0 while too little was decoded to say anything, and then no single group moves it by more
than `MOST` times: what declares many pixels may be no picture at all. Belongs to the event loop; fed and asked by the
decoders.
"""

from typing import Final

KEPT: Final = 0.9  # of what was known, with each new group
ENOUGH: Final = 8  # groups; the first ones are slower than those to come
MOST: Final = 4.0  # times what is known, or a part of it: what one group may say


class Pace:
    """Seconds that one thread takes for work."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._work = 0.0
        self._groups = 0

    def observe(self, work: int, seconds: float) -> None:
        """Learns from one group of pictures, which were so much work."""
        if known := self.seconds(work):
            seconds = min(max(seconds, known / MOST), known * MOST)
        self._seconds = KEPT * self._seconds + seconds
        self._work = KEPT * self._work + work
        self._groups += 1

    def seconds(self, work: int) -> float:
        """How long one thread takes for so much."""
        return work * self._seconds / self._work if self._work and self._groups >= ENOUGH else 0.0
