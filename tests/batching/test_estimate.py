"""What the estimate says, when it says nothing, and that it forgets."""

import pytest

from service.batching.estimate import ENOUGH, STALE, Estimate


def learnt() -> Estimate:
    """An estimate that has seen enough: runs of one row of a second each."""
    estimate = Estimate()
    for _ in range(ENOUGH):
        estimate.observe(1, 1.0)
    return estimate


def test_it_says_nothing_before_it_has_seen_enough():
    estimate = Estimate()
    for _ in range(ENOUGH - 1):
        estimate.observe(1, 1.0)
    assert (estimate.known, estimate.seconds(1)) == (False, 0)
    estimate.observe(1, 1.0)
    assert (estimate.known, estimate.seconds(1)) == (True, 1.0)


def test_sizes_of_one_bucket_share_what_they_learnt():
    estimate = learnt()
    estimate.observe(5, 3.0)
    assert [estimate.seconds(rows) for rows in (1, 2, 4, 5, 8, 9, 32)] == [1, 1, 1, 3, 3, 3, 3]


def test_a_size_below_all_that_is_known_is_not_guessed():
    estimate = Estimate()
    for _ in range(ENOUGH):
        estimate.observe(8, 3.0)
    assert estimate.seconds(1) == 0


def test_it_follows_the_runs_and_one_outlier_is_soon_forgotten():
    estimate = learnt()
    estimate.observe(1, 100.0)
    assert estimate.seconds(1) > 10
    for _ in range(40):
        estimate.observe(1, 1.0)
    assert estimate.seconds(1) == pytest.approx(1, abs=0.01)


def test_a_size_that_was_not_run_for_long_is_forgotten_so_that_one_bad_run_can_not_keep_it_out():
    estimate = learnt()
    estimate.observe(32, 1000.0)
    for _ in range(STALE):
        estimate.observe(1, 1.0)
    assert estimate.seconds(32) == 1000
    estimate.observe(1, 1.0)
    assert estimate.seconds(32) == 1
    estimate.observe(32, 4.0)
    assert estimate.seconds(32) == 4
