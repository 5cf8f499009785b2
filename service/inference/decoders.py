"""The threads that decode pictures, and whose turn it is.

Every call stands in a line of its own for its parts, and all calls of class batch in one; lines take turns, so a call
of many pictures delays a call of one by a part, not by all of them. Small parts go to a thread in groups, because
handing one over costs more than decoding it. Whose caller left, or whom decoding can't help any more, is dropped when
its turn comes, and in a thread before its next picture. The invariant: every part that was asked for is given back
once, or its error is. Belongs to the event loop; owned by the data plane.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bundle.preprocessing import Limits
from service.batching.instance import tell
from service.inference.decoding import NO_PICTURES, Part, Pictures, decode_part
from service.inference.lines import Job, Lines
from service.inference.pace import Pace
from service.inference.room import Room

# Work that is worth a thread of its own.
WORTH = 32 << 10

Check = Callable[[], None]
Done = tuple[Job, Part | Exception]


def _nothing() -> None:
    pass


class Decoders:
    """So many decoding threads, for pictures within `limits`; what they decode at once fits into `room`."""

    def __init__(self, threads: int, limits: Limits, room: Room) -> None:
        self.pace = Pace()
        self._threads = threads
        self._limits = limits
        self._room = room
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="convoy-decode")
        # Twice as many groups as threads: each finds its next one there, without waiting for the event loop.
        self._places = 2 * threads
        self._lines = Lines()
        self._handed_out = 0
        self._handing_out = False

    def decode(
        self,
        line: object,
        pictures: Pictures,
        numbers: range,
        check: Check = _nothing,
    ) -> asyncio.Future[Part]:
        """The part with these numbers, in its turn; for a future that is cancelled no further picture is decoded.

        `check` is asked when the turn comes: where it raises, nothing is decoded and the future gets the error.
        """
        loop = asyncio.get_running_loop()
        work = sum(pictures.work[numbers.start : numbers.stop])
        job = Job(pictures, numbers, work, check, time.monotonic(), loop.create_future())
        self._lines.join(line, job)
        job.future.add_done_callback(partial(self._left, job))
        if self._places and not self._handing_out:
            self._handing_out = True
            loop.call_soon(self._hand_out)  # not before the whole burst is here
        return job.future

    def seconds(self, line: object, work: int, parts: int) -> float:
        """The estimated seconds until so much work that joins the line now, in so many parts, is done.

        Before it come what the threads have in hand and what waits and has its turn before the last part, as
        `Lines.work_before` reckons it. 0 where a thread has nothing to do: what can begin at once is what the estimate
        learns from.
        """
        if not self._lines and self._places > self._threads:
            return 0.0
        ahead = self._handed_out + self._lines.work_before(line, parts)
        return self.pace.seconds(ahead) / self._threads + self.pace.seconds(work) / min(parts, self._threads)

    def close(self) -> None:
        """Ends the threads; what waits for its turn is not decoded."""
        self._lines.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _hand_out(self) -> None:
        self._handing_out = False
        while self._places and (group := self._group()):
            self._places -= 1
            self._pool.submit(self._work, group)

    def _group(self) -> list[Job]:
        """Parts whose turn it is, as many as are worth a thread; one that is so by itself keeps no others waiting."""
        group: list[Job] = []
        total = 0
        while self._lines and total < WORTH and not (group and self._lines.next_work >= WORTH):
            job = self._lines.take()
            if self._worth(job):
                job.handed_out = True
                group.append(job)
                total += job.work
        self._handed_out += total
        return group

    def _left(self, job: Job, _future: asyncio.Future[Part]) -> None:
        """The job is done; where it still waits or is in hand, that is because its caller left."""
        job.wanted = False
        if job.waits:
            self._lines.leave(job)
            # Its turn may be far, and nothing counts its bytes any more.
            job.pictures, job.check = NO_PICTURES, _nothing
        self._taken_back(job)

    def _taken_back(self, job: Job) -> None:
        if job.handed_out:
            job.handed_out = False
            self._handed_out -= job.work

    def _worth(self, job: Job) -> bool:
        """Whether somebody waits for it whom decoding can still help; else he is told."""
        if job.future.done():
            return False
        try:
            job.check()
        except Exception as error:
            job.future.set_exception(error)
        return not job.future.done()

    def _work(self, group: Sequence[Job]) -> None:
        """In a thread: nothing but the pictures is touched here."""
        began = time.monotonic()
        done = [(job, self._decode(job)) for job in group]
        tell(group[0].future.get_loop(), self._finish, done, time.monotonic() - began)

    def _decode(self, job: Job) -> Part | Exception:
        try:
            return decode_part(job.pictures, job.numbers, self._limits, self._room, lambda: job.wanted)
        except Exception as error:
            return error

    def _finish(self, done: Sequence[Done], seconds: float) -> None:
        """Gives the thread its next group first, then what it has decoded to those who asked."""
        if work := sum(found.work for _, found in done if isinstance(found, Part)):
            self.pace.observe(work, seconds)
        for job, _ in done:
            self._taken_back(job)
        self._places += 1
        self._hand_out()
        now = time.monotonic()
        for job, found in done:
            if job.future.done():
                continue
            if isinstance(found, Exception):
                job.future.set_exception(found)
            else:
                found.seconds = now - job.came
                job.future.set_result(found)
