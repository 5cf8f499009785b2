"""How busy a machine was, from made-up counters, and that this one's can be read."""

import sys

import pytest

from service.models.planning import machine
from service.models.planning.machine import Moment, taken_by_others

START = Moment(clock=100.0, idle=500.0, spent=900.0, children=3.0)


def later(*, seconds: float = 5.0, idle: float, spent: float, children: float) -> Moment:
    return Moment(START.clock + seconds, START.idle + idle, START.spent + spent, START.children + children)


@pytest.mark.parametrize(
    ("idle", "children", "taken"),
    [
        (0.0, 10.0, 0.0),  # the profiler had both cores
        (7.0, 3.0, 0.0),  # it had what it wanted
        (0.0, 5.0, 0.5),  # another process had one of them
        (1.0, 1.0, 0.8),
        (0.0, 0.0, 1.0),
        (9.0, 2.0, 0.0),  # the counters are not exact
    ],
)
def test_what_was_neither_idle_nor_ours_was_taken(idle, children, taken):
    after = later(idle=idle, spent=10.0 - idle, children=children)
    assert taken_by_others(START, after, cores=2) == pytest.approx(taken)


def test_free_cores_beyond_the_quota_are_enough():
    """Of 64 cores ten are busy with others, and two are what this container may use."""
    assert taken_by_others(START, later(idle=260.0, spent=60.0, children=10.0), cores=2) == 0


@pytest.mark.parametrize(
    "after", [later(idle=0, spent=0, children=1.0), later(seconds=0.1, idle=0, spent=0.2, children=0)]
)
def test_what_can_not_be_known_counts_as_undisturbed(after):
    assert taken_by_others(START, after, cores=2) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_this_machine_tells():
    first, second = machine.now(), machine.now()
    assert 0 < first.idle + first.spent <= second.idle + second.spent
    assert second.clock >= first.clock


def test_a_system_that_does_not_tell(tmp_path):
    assert machine._read(tmp_path / "absent") == (0.0, 0.0)
