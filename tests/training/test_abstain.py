"""Thresholds for a wished precision, against cases worked out by hand and against trying every one."""

import numpy as np
import pytest

from training.abstain import answered, threshold


def answers(scores, right):
    """Probabilities of two classes whose best score and rightness are given, and the labels."""
    scores = np.array(scores, np.float32)
    return np.stack([scores, 1 - scores], axis=1), np.where(right, 0, 1)


def test_the_lowest_score_that_keeps_the_precision():
    scores = np.repeat([0.95, 0.9, 0.8, 0.7, 0.6], 20)
    found = threshold(*answers(scores, np.repeat([1, 1, 0, 1, 0], 20)), precision=0.75)
    assert found.score == np.float32(0.7)
    assert (found.precision, found.coverage, found.reached) == (0.75, 0.8, True)


def test_a_precision_that_all_answers_have_leaves_nothing_out():
    found = threshold(*answers([0.9, 0.8, 0.7], [1, 1, 0]), precision=0.6)
    assert (found.score, found.precision, found.coverage, found.reached) == (0, 2 / 3, 1, True)


def test_answers_that_are_all_right_need_no_threshold():
    """The least score of few pictures is no bound for others."""
    assert threshold(*answers([0.9999, 0.9976], [1, 1]), precision=0.99).score == 0


def test_equal_scores_are_answered_together():
    """The first 0.8 alone would reach 100%."""
    found = threshold(*answers([0.9, 0.8, 0.8] * 20, [1, 1, 0] * 20), precision=0.9)
    assert not found.reached
    assert found.coverage == 1


def test_the_best_that_can_be_had_is_said():
    scores = np.linspace(0.99, 0.6, 60)
    found = threshold(*answers(scores, [number % 10 > 0 for number in range(60)]), precision=0.95)
    assert (found.reached, found.precision) == (False, 0.9)


def test_few_answers_prove_nothing():
    """Right 29 times in a row, which a coin does not do, but a model may by luck."""
    found = threshold(*answers(np.linspace(0.99, 0.6, 60), [1] * 29 + [0] * 31), precision=0.99)
    assert not found.reached
    assert found.coverage == 0.5


@pytest.mark.parametrize("precision", [0.7, 0.8, 0.9, 0.95])
def test_no_other_threshold_answers_more(precision):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.5] * 4, 400).astype(np.float32)
    chances = probabilities.astype(np.float64)
    labels = np.array([random.choice(4, p=row / row.sum()) for row in chances])
    found = threshold(probabilities, labels, precision)
    tried = [(score, *answered(probabilities, labels, score)) for score in probabilities.max(axis=1)]
    assert found.reached
    assert found.coverage == max(coverage for _, reached, coverage in tried if reached >= precision)
    assert answered(probabilities, labels, found.score) == (found.precision, found.coverage)


def test_on_other_pictures_precision_and_coverage_are_counted():
    probabilities, labels = answers([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1])
    assert answered(probabilities, labels, 0.75) == (0.5, 0.5)
    assert answered(probabilities, labels, 0.95) == (None, 0.0)
