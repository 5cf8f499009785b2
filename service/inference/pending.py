"""The bytes of calls that were accepted and are not yet answered, of all models together.

Places bound how many pictures wait (`--max-pending`), and a picture may have twenty megabytes; what a container may
hold is counted in bytes. The invariant: never more than the limit, and what a call took it gives back when it ends.
Belongs to the event loop; owned by the data plane.
"""

from collections.abc import Callable
from typing import Final

from service.batching.entries import Priority
from service.config import MEBIBYTE
from service.errors import MemoryFull, RequestInvalid
from service.runtimes.usable import usable_memory

# Of the memory there is; a message and the pictures in it are two copies for a while.
_SHARE: Final = 8


class PendingBytes:
    """Counts up to `most` bytes; by default, an eighth of the memory that `processes` share."""

    def __init__(self, most: int = 0, *, processes: int = 1) -> None:
        self._most = most or usable_memory() // (_SHARE * processes)
        self.pending = 0

    def check(self, size: int, priority: Priority, retry_after: Callable[[], float]) -> None:
        """Whether a call of `size` bytes can be added; class batch only gets half of the room.

        Raises MemoryFull when there is no room, with the seconds that `retry_after` then estimates, and RequestInvalid
        for what there never will be room for.
        """
        most = self._most if priority is Priority.INTERACTIVE else self._most // 2
        if size > most:
            share = "" if priority is Priority.INTERACTIVE else ", half of it for priority batch"
            raise RequestInvalid(
                f"the call brings {size / MEBIBYTE:.1f} MiB, the server never has more than {most / MEBIBYTE:.1f} "
                f"pending (--max-pending-mb{share}); split it into several calls"
            )
        if self.pending + size > most:
            raise MemoryFull(self.pending, size, most, retry_after())

    def add(self, size: int) -> None:
        """Counts a call that was checked, until `release`."""
        self.pending += size

    def release(self, size: int) -> None:
        """The call has ended."""
        self.pending -= size
