"""How many CPU cores and how much memory this process may really use.

A container sees all of its host's; its share of the cores is in the scheduler's affinity mask and in the cgroup's CPU
quota, its limit of memory in the cgroup. Threads beyond that share only wait for each other, and who goes over that
limit is killed. Asked wherever a number of threads is left open, and for the limits that follow from the memory: what
is decoded at once, and what is accepted and not yet answered.
"""

import math
import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """The cores of the affinity mask, or fewer where a quota allows less; at least 1. A part of a core counts whole."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def usable_memory(cgroup: Path = _CGROUP) -> int:
    """The machine's memory in bytes, or the limit where that is less; each cgroup version has a file of its own."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_limit(cgroup / "memory.max"), _limit(cgroup / "memory" / "memory.limit_in_bytes"))
    return min(limit for limit in (machine, *limits) if limit > 0)


def _quota(cgroup: Path) -> float | None:
    """The CPU quota in cores: cgroup v2 keeps "quota period" in one file, v1 in two. None where there is no limit."""
    fields = _read(cgroup / "cpu.max").split() or [
        *_read(cgroup / "cpu" / "cpu.cfs_quota_us").split(),
        *_read(cgroup / "cpu" / "cpu.cfs_period_us").split(),
    ]
    try:
        quota, period = map(int, fields)
    except ValueError:  # no such file, or "max"
        return None
    return quota / period if quota > 0 and period > 0 else None


def _limit(path: Path) -> int:
    """A limit in bytes; 0 where there is none."""
    try:
        return int(_read(path))
    except ValueError:  # no such file, or "max"
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
