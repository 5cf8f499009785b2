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


def test_it_follows_the_groups_and_one_outlier_is_soon_forgotten():
    pace = Pace()
    for _ in range(50):
        pace.observe(100, 1.0)
    pace.observe(100, 100.0)
    assert pace.seconds(100) > 10
    for _ in range(100):
        pace.observe(100, 1.0)
    assert pace.seconds(100) == pytest.approx(1.0, abs=0.01)


def test_groups_without_a_byte_do_no_harm():
    pace = Pace()
    for _ in range(ENOUGH):
        pace.observe(0, 1.0)
    assert pace.seconds(100) == 0
