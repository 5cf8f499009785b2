"""The rows that wait, and the rule by which they become a batch.

Interactive rows go first, in arrival order; rows of class batch fill what is left. So that these are never starved for
ever: after `PATIENCE` batches in a row that took none of them while some waited, the next batch begins with them and
gives them up to a quarter of its rows. Entries whose caller left or whose deadline passed are dropped while the batch
forms. The invariant: `rows` is exact, and entries that left never outnumber those that wait. Owned by the batcher.
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import Final

from service.batching.entries import Entry, Priority, Slice
from service.errors import DeadlinePassed

PATIENCE: Final = 7
SHARE: Final = 4  # the batch whose turn it is gives one row in so many

_JOBS: Final = Priority.BATCH  # a member is looked up in several steps, and this is asked for every call


class _Queue:
    """The entries of one class in arrival order; `rows` counts those that nobody has taken and somebody waits for."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.rows = 0
        self._left = 0

    def leave(self, entry: Entry) -> None:
        """The caller left. Its arrays are let go when as many have left as still wait, so this costs no search."""
        if entry.gone or entry.taken == entry.count:
            return
        self._discount(entry)
        self._left += 1
        if 2 * self._left > len(self.entries):
            self.entries = deque(each for each in self.entries if not each.gone)
            self._left = 0

    def move(self, batch: list[Slice], room: int, now: float, *, mixed: bool) -> int:
        """Moves rows into the batch while there is room; gives the room that is left."""
        while room and self.entries:
            entry = self.entries[0]
            if not _wanted(entry, now):
                self.drop()
                continue
            if mixed and batch and entry.row_shapes != batch[0].entry.row_shapes:
                break
            part = entry.take(room)
            room -= part.count
            self.rows -= part.count
            batch.append(part)
            if entry.taken == entry.count:
                self.entries.popleft()
        return room

    def drop(self) -> Entry:
        """Takes the first entry out, with all its rows."""
        entry = self.entries.popleft()
        if entry.gone:
            self._left -= 1
        else:
            self._discount(entry)
        return entry

    def _discount(self, entry: Entry) -> None:
        entry.gone = True
        self.rows -= entry.count - entry.taken


class Waiting:
    """All entries that wait for their turn. `mixed` where rows may have several shapes, which can't share a batch.

    `max_batch_size` may be set; it counts from the next batch on.
    """

    def __init__(self, max_batch_size: int, *, mixed: bool) -> None:
        self.max_batch_size = max_batch_size
        self._mixed = mixed
        self._interactive, self._jobs = _Queue(), _Queue()
        self._passed_over = 0

    def push(self, entry: Entry) -> None:
        """Puts an entry at the end of its class."""
        queue = self._jobs if entry.priority is _JOBS else self._interactive
        queue.entries.append(entry)
        queue.rows += entry.count

    def leave(self, entry: Entry) -> None:
        """Forgets the rows of an entry whose caller left, unless they were taken."""
        (self._jobs if entry.priority is _JOBS else self._interactive).leave(entry)

    def ahead(self, priority: Priority) -> int:
        """The rows that go before those that would come now with this priority."""
        interactive = self._interactive.rows
        return interactive + self._jobs.rows if priority is _JOBS else interactive

    def form(self) -> list[Slice]:
        """The next batch; empty where nobody waits."""
        batch: list[Slice] = []
        room, now = self.max_batch_size, time.monotonic()
        if not self._jobs.entries:
            self._interactive.move(batch, room, now, mixed=self._mixed)
            return batch
        before = self._jobs.rows
        if self._passed_over >= PATIENCE:
            share = max(1, room // SHARE)
            room -= share - self._jobs.move(batch, share, now, mixed=self._mixed)
        room = self._interactive.move(batch, room, now, mixed=self._mixed)
        self._jobs.move(batch, room, now, mixed=self._mixed)
        passed_over = self._jobs.rows and self._jobs.rows == before
        self._passed_over = self._passed_over + 1 if passed_over else 0
        return batch

    def clear(self) -> Iterator[Entry]:
        """Takes every entry out."""
        for queue in (self._interactive, self._jobs):
            while queue.entries:
                yield queue.drop()


def _wanted(entry: Entry, now: float) -> bool:
    """Whether somebody still waits for it in time; who came too late is told."""
    if now > entry.deadline:
        waited = now - entry.arrived
        begun = f"{entry.taken} of {entry.count} pictures were begun" if entry.taken else "nothing was executed"
        entry.fail(DeadlinePassed(f"the deadline passed after {waited:.3f} s in the queue; {begun}"))
    return not entry.waiter.done()
