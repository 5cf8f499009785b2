"""How much memory this process may really use.

A container sees all of its host's memory; its limit is in the cgroup, and who goes over it is killed. Asked for the
limits that follow from it: what is decoded at once, and what is accepted and not yet answered.
"""

import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def usable_memory(cgroup: Path = _CGROUP) -> int:
    """The machine's memory in bytes, or the limit where that is less; each cgroup version has a file of its own."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_limit(cgroup / "memory.max"), _limit(cgroup / "memory" / "memory.limit_in_bytes"))
    return min(limit for limit in (machine, *limits) if limit > 0)


def _limit(path: Path) -> int:
    """0 where there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return 0
