"""What the throughput says, when it says nothing, and that it forgets."""

import pytest

from service.batching.estimate import ENOUGH, STALE
from service.batching.throughput import Throughput


def learnt(interval: float = 1.0, rows: int = 1) -> Throughput:
    """A throughput that has seen enough batches, so far apart, while every instance was busy."""
    throughput = Throughput()
    for number in range(ENOUGH + 1):
        throughput.observe(rows, number * interval, busy=True)
    return throughput


def test_it_says_nothing_before_it_has_seen_enough():
    throughput = Throughput()
    for number in range(ENOUGH):
        throughput.observe(1, float(number), busy=True)
    assert throughput.seconds_per_row == 0
    throughput.observe(1, float(ENOUGH), busy=True)
    assert throughput.seconds_per_row == pytest.approx(1)


def test_it_is_of_a_row_and_not_of_a_batch():
    assert learnt(interval=8.0, rows=4).seconds_per_row == pytest.approx(2)


def test_two_instances_that_end_together_count_as_two():
    throughput = Throughput()
    for number in range(ENOUGH):
        throughput.observe(1, float(number), busy=True)
        throughput.observe(1, float(number), busy=True)
    assert throughput.seconds_per_row == pytest.approx(0.5, rel=0.1)


def test_the_time_in_which_an_instance_had_nothing_to_do_does_not_count():
    throughput = learnt()
    throughput.observe(1, ENOUGH + 1, busy=False)
    throughput.observe(1, 1_000_000.0, busy=True)
    throughput.observe(1, 1_000_001.0, busy=True)
    assert throughput.seconds_per_row == pytest.approx(1)


def test_batches_of_which_nothing_could_be_run_do_not_count():
    throughput = learnt()
    for number in range(STALE):
        throughput.observe(0, ENOUGH + 100.0 * number, busy=True)
    assert throughput.seconds_per_row == pytest.approx(1)
    throughput.observe(1, ENOUGH + 100.0 * (STALE - 1) + 1, busy=True)
    assert throughput.seconds_per_row == pytest.approx(1)


def test_it_follows_the_batches():
    throughput = learnt()
    for number in range(200):
        throughput.observe(1, 100 + 3.0 * number, busy=True)
    assert throughput.seconds_per_row == pytest.approx(3, rel=0.01)


def test_what_was_learnt_under_load_is_forgotten_without_it():
    throughput = learnt(interval=1000.0)
    throughput.observe(1, 1000.0 * (ENOUGH + 1), busy=False)
    for _ in range(STALE):
        throughput.observe(1, 1e6, busy=False)
    assert throughput.seconds_per_row == pytest.approx(1000)
    throughput.observe(1, 1e6, busy=False)
    assert throughput.seconds_per_row == 0
