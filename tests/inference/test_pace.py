"""What the decoders' pace says, and when it says nothing."""

import pytest

from service.inference.pace import ENOUGH, Pace


def test_it_says_nothing_before_it_has_seen_enough():
    pace = Pace()
    for _ in range(ENOUGH - 1):
        pace.observe(100, 1.0)
    assert pace.seconds(100) == 0
    pace.observe(100, 1.0)
    assert pace.seconds(50) == pytest.approx(0.5)


def test_large_groups_count_for_more_than_small_ones():
    pace = Pace()
    for _ in range(50):
        pace.observe(1_000_000, 1.0)
        pace.observe(100, 0.01)
    assert pace.seconds(1_000_000) == pytest.approx(1.0, rel=0.02)


def learnt(size: int, seconds: float) -> Pace:
    pace = Pace()
    for _ in range(50):
        pace.observe(size, seconds)
    return pace


def test_a_small_file_of_a_huge_picture_hardly_moves_it():
    pace = learnt(20_000, 0.002)
    pace.observe(20_000, 0.5)
    assert 0.002 < pace.seconds(20_000) < 0.003
    for _ in range(30):
        pace.observe(20_000, 0.002)
    assert pace.seconds(20_000) == pytest.approx(0.002, rel=0.02)


def test_a_large_file_that_is_no_picture_hardly_moves_it():
    pace = learnt(20_000, 0.002)
    pace.observe(20_000_000, 0.00001)
    assert 0.0005 <= pace.seconds(20_000) < 0.002


@pytest.mark.parametrize("now", [0.02, 20.0])
def test_it_follows_when_everything_is_slower_or_faster(now):
    pace = learnt(100, 1.0)
    for _ in range(100):
        pace.observe(100, now)
    assert pace.seconds(100) == pytest.approx(now, rel=0.02)


def test_groups_without_a_byte_do_no_harm():
    pace = Pace()
    for _ in range(ENOUGH):
        pace.observe(0, 1.0)
    assert pace.seconds(100) == 0
