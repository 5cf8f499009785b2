"""The cores and the memory that a process may use: cgroup files of both versions, and a real affinity mask."""

import os
import subprocess
import sys

import pytest

from service.runtimes.usable import usable_cores, usable_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def cgroup(tmp_path):
    (tmp_path / "cpu").mkdir()
    return tmp_path


def everything():
    return len(os.sched_getaffinity(0))


@pytest.mark.parametrize("content", ["max 100000\n", "", "nonsense", "-1 100000", "100000 0", "100000"])
def test_without_a_quota_all_cores_of_the_mask_are_usable(cgroup, content):
    (cgroup / "cpu.max").write_text(content)
    assert usable_cores(cgroup) == everything()


def test_without_cgroup_files_all_cores_of_the_mask_are_usable(tmp_path):
    assert usable_cores(tmp_path / "absent") == everything()


@pytest.mark.parametrize(
    ("quota", "cores"), [(1_000, 1), (50_000, 1), (100_000, 1), (150_000, 2), (9_999_900_000, 99_999)]
)
def test_a_quota_bounds_the_cores(cgroup, quota, cores):
    (cgroup / "cpu.max").write_text(f"{quota} 100000\n")
    assert usable_cores(cgroup) == min(cores, everything())


def test_the_first_cgroup_version_s_quota_is_read_too(cgroup):
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(cgroup) == 1
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert usable_cores(cgroup) == everything()


def test_the_affinity_mask_counts():
    core = min(os.sched_getaffinity(0))
    program = (
        "import os; from service.runtimes.usable import usable_cores;"
        f"os.sched_setaffinity(0, [{core}]); print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize("content", ["max\n", "", "nonsense", "-1", f"{MACHINE + 1}\n"])
def test_without_a_limit_the_memory_is_the_machine_s(tmp_path, content):
    (tmp_path / "memory.max").write_text(content)
    assert usable_memory(tmp_path) == usable_memory(tmp_path / "absent") == MACHINE


def test_a_limit_bounds_the_memory(tmp_path):
    (tmp_path / "memory.max").write_text("67108864\n")
    assert usable_memory(tmp_path) == 64 << 20


def test_the_first_cgroup_version_s_limit_is_read_too(tmp_path):
    (tmp_path / "memory").mkdir()
    limit = tmp_path / "memory" / "memory.limit_in_bytes"
    limit.write_text("67108864\n")
    assert usable_memory(tmp_path) == 64 << 20
    limit.write_text("9223372036854771712\n")
    assert usable_memory(tmp_path) == MACHINE
