"""The memory that a process may use: cgroup files of both versions."""

import os

import pytest

from service.runtimes.memory import usable_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("content", ["max\n", "", "nonsense", "-1", f"{MACHINE + 1}\n"])
def test_without_a_limit_it_is_the_machine_s(tmp_path, content):
    (tmp_path / "memory.max").write_text(content)
    assert usable_memory(tmp_path) == usable_memory(tmp_path / "absent") == MACHINE


def test_a_limit_bounds_it(tmp_path):
    (tmp_path / "memory.max").write_text("67108864\n")
    assert usable_memory(tmp_path) == 64 << 20


def test_the_first_cgroup_version_is_read_too(tmp_path):
    (tmp_path / "memory").mkdir()
    limit = tmp_path / "memory" / "memory.limit_in_bytes"
    limit.write_text("67108864\n")
    assert usable_memory(tmp_path) == 64 << 20
    limit.write_text("9223372036854771712\n")
    assert usable_memory(tmp_path) == MACHINE
