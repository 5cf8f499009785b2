"""Who waits to be decoded, in which order, and how much work stands before whom.

Every call has a line of its own, and lines take turns: a job has its turn in the round after that of the job before it
in its line, and one that is first in a new line comes in the round that the last line is in. So work is kept by
round, and what stands before a newcomer is reckoned from its own rounds, however many lines there are. The invariant:
rounds are handed out in order. Belongs to the event loop; owned by the decoders.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from service.inference.decoding import Part, Pictures


@dataclass(slots=True, eq=False)
class Job:
    """A part to decode: these numbers of a call's pictures, which are so much `work`."""

    pictures: Pictures
    numbers: range
    work: int
    check: Callable[[], None]
    came: float
    future: asyncio.Future[Part]
    waits: bool = True
    """For its turn, and somebody for it."""
    handed_out: bool = False
    """To a thread, and somebody waits for it."""
    wanted: bool = True
    """Whether somebody waits for it. All that a thread may read of what changes."""
    round: int = 0
    """That of its turn; the lines set it."""


class Lines:
    """Lines of jobs that take turns; true while there are any."""

    def __init__(self) -> None:
        self._lines: OrderedDict[object, deque[Job]] = OrderedDict()  # in the order of their turns
        self._work: dict[int, int] = {}  # that wait, by round; those of all rounds from the first line's on
        self._total = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def join(self, line: object, job: Job) -> None:
        """Puts the job at the end of its line, and a new line behind all others."""
        job.round = self._next_round(line)
        self._lines.setdefault(line, deque()).append(job)
        self._work[job.round] = self._work.get(job.round, 0) + job.work
        self._total += job.work

    @property
    def next_work(self) -> int:
        """The work of the job whose turn it is."""
        return self._lines[next(iter(self._lines))][0].work

    def take(self) -> Job:
        """The job whose turn it is; the rest of its line goes behind the others."""
        line, jobs = self._lines.popitem(last=False)
        job = jobs.popleft()
        if jobs:
            self._lines[line] = jobs
        if job.waits:
            self.leave(job)
        if not self._lines or self._first_round() > job.round:
            del self._work[job.round]
        return job

    def leave(self, job: Job) -> None:
        """The job waits no longer: it has had its turn, or will have it without being reckoned with."""
        job.waits = False
        self._work[job.round] -= job.work
        self._total -= job.work

    def work_before(self, line: object, count: int) -> int:
        """The work that has its turn before so many jobs that join the line now have all had theirs.

        Never too little; of a line that comes later in the round than this one, or is a round behind, it may be a job
        too much. Costs as much as the line has jobs, however many others there are.
        """
        if not self._lines:
            return 0
        first = self._first_round()
        rounds = self._next_round(line) + count - first
        if rounds >= len(self._work):
            return self._total
        return sum(self._work[each] for each in range(first, first + rounds))

    def clear(self) -> None:
        """Drops everybody."""
        for jobs in self._lines.values():
            for job in jobs:
                job.waits = False
        self._lines.clear()
        self._work.clear()
        self._total = 0

    def _first_round(self) -> int:
        return self._lines[next(iter(self._lines))][0].round

    def _next_round(self, line: object) -> int:
        """The round of the next job that joins the line."""
        if jobs := self._lines.get(line):
            return jobs[-1].round + 1
        return self._lines[next(reversed(self._lines))][0].round if self._lines else 0
