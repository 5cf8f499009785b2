"""How fast a decoding thread is, learnt from what was decoded.

Seconds a byte, because a thumbnail and a photo differ by a hundred times in time and much less by this. These are
seconds by the clock, so other work on the same cores is in them, and the latest groups count most. The invariant: 0
while too little was decoded to say anything, and then no single group moves it by more than `MOST` times: a small file
may be a huge picture, and a large one be no picture at all. Belongs to the event loop; fed and asked by the decoders.
"""

from typing import Final

KEPT: Final = 0.9  # of what was known, with each new group
ENOUGH: Final = 8  # groups; the first ones are slower than those to come
MOST: Final = 4.0  # times what is known, or a part of it: what one group may say


class Pace:
    """Seconds that one thread takes for encoded bytes."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._bytes = 0.0
        self._groups = 0

    def observe(self, size: int, seconds: float) -> None:
        """Learns from one group of pictures, of `size` encoded bytes."""
        if known := self.seconds(size):
            seconds = min(max(seconds, known / MOST), known * MOST)
        self._seconds = KEPT * self._seconds + seconds
        self._bytes = KEPT * self._bytes + size
        self._groups += 1

    def seconds(self, size: int) -> float:
        """How long one thread takes for so many encoded bytes."""
        return size * self._seconds / self._bytes if self._bytes and self._groups >= ENOUGH else 0.0
