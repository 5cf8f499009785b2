"""How much of the cores others had while something was measured here.

A plan that was measured while others took the cores is chosen from wrong figures, so it must not be kept as if it were
right. Counted from what Linux says of each core and of this process's children, between two moments; what can't be
known, as on other systems or in so short a time, counts as undisturbed. Only children are not "others": the calls that
this server answers while it measures disturb as much, and count. Asked by `planner`, whose profiler is a child.
"""

import asyncio
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.runtimes.usable import usable_cores

# Of the usable cores; a quarter more or less changes which plan is the best.
BUSY: Final = 0.25
# So little leaves room for what the measurement itself meets.
CALM: Final = BUSY / 2
# The counters go in steps of a hundredth of a second.
_LEAST_SECONDS: Final = 0.2
_STAT: Final = Path("/proc/stat")
_IDLE: Final = slice(3, 5)  # of a core's fields: idle, and waiting for a disk


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds so far: of the clock, that the usable cores were idle and not, and that ended children computed."""

    clock: float
    idle: float
    spent: float
    children: float


def now() -> Moment:
    """What the counters say; `idle` and `spent` are 0 where the system does not tell."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    idle, spent = _read(_STAT)
    return Moment(time.monotonic(), idle, spent, used.ru_utime + used.ru_stime)


def taken_by_others(before: Moment, after: Moment, cores: int) -> float:
    """The share of the usable cores that others had between the moments.

    Children of this process are not counted, its own threads are.
    """
    idle, spent = after.idle - before.idle, after.spent - before.spent
    children, seconds = after.children - before.children, after.clock - before.clock
    if not idle + spent or seconds < _LEAST_SECONDS:
        return 0.0
    return min(1.0, max(0.0, 1 - (idle + children) / (seconds * cores)))


async def calm_for(seconds: float) -> bool:
    """Whether others have next to nothing of the usable cores from now on for so long."""
    before = now()
    await asyncio.sleep(seconds)
    return taken_by_others(before, now(), usable_cores()) <= CALM


def _read(path: Path) -> tuple[float, float]:
    """The seconds that this process's cores were idle, and all others."""
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.startswith("cpu")]
        mine = os.sched_getaffinity(0)
        fields = [list(map(int, counts)) for name, *counts in lines if name[3:].isdigit() and int(name[3:]) in mine]
        tick = os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError):
        return 0.0, 0.0
    idle = sum(sum(of[_IDLE]) for of in fields)
    return idle / tick, (sum(map(sum, fields)) - idle) / tick
