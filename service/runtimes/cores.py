"""How many CPU cores this process may really use.

A container sees all of its host's cores; its share is in the scheduler's affinity mask and in the cgroup's CPU quota.
Threads beyond that share only wait for each other. Asked by `opening` when the number of threads is left open, and by
batch jobs for their decoding threads.
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


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
