"""Temperatures and calibration figures, against cases worked out by hand and labels drawn from known odds."""

import numpy as np
import pytest

from training.calibrate import BINS, Bin, calibration, expected_error, fit_temperature, reliability, tempered


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(temperature, count=20_000, classes=5):
    """Logits, and labels with the odds that the logits have at this temperature."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (count, classes))
    chances = softmax(logits / temperature).cumsum(axis=1)
    labels = (random.random((count, 1)) > chances).sum(axis=1)
    return logits, labels.astype(np.int64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_labels_is_found(temperature):
    logits, labels = drawn(temperature)
    fitted = fit_temperature(softmax(logits).astype(np.float32), labels)
    assert fitted == pytest.approx(temperature, rel=0.03)
    about = [calibration(softmax(logits / t), labels).nll for t in (0.99 * fitted, fitted, 1.01 * fitted)]
    assert min(about) == about[1]


def test_a_fitted_temperature_makes_scores_mean_what_they_say():
    logits, labels = drawn(2.5)
    before = calibration(softmax(logits), labels)
    after = calibration(tempered(softmax(logits), 2.5), labels)
    assert before.ece > 0.1
    assert after.ece < 0.015
    assert after.nll < before.nll


@pytest.mark.parametrize("labels", ["all right", "unrelated"])
def test_answers_that_cant_tell_have_no_temperature(labels):
    """Of answers that are always right, or are no better than chance, the best temperature is 0 or has no end."""
    probabilities = softmax(np.random.default_rng(1).normal(0, 2, (3_000, 3)))
    truth = probabilities.argmax(axis=1) if labels == "all right" else np.arange(3_000) % 3
    assert fit_temperature(probabilities, truth) is None


def test_tempered_is_the_softmax_of_divided_logits():
    logits = np.random.default_rng(2).normal(0, 4, (50, 7))
    np.testing.assert_allclose(tempered(softmax(logits), 0.7), softmax(logits / 0.7), atol=1e-12)
    np.testing.assert_allclose(tempered(tempered(softmax(logits), 0.7), 1 / 0.7), softmax(logits), atol=1e-12)


def test_probabilities_that_were_rounded_to_0_and_1_give_numbers():
    sure = np.array([[1, 0], [0, 1]], np.float32)
    assert tempered(sure, 2.0).argmax(axis=1).tolist() == [0, 1]
    assert np.isfinite(calibration(sure, np.array([0, 0])).nll)
    np.testing.assert_allclose(tempered(sure, 0.5), sure, atol=1e-12)


def test_figures_of_a_case_worked_out_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.6, 0.4]])
    found = calibration(probabilities, np.array([0, 1, 1, 1]))
    assert found.nll == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.4]).mean())
    # (|1 - .9| + |0 - .8| + 2 |1/2 - .6|) / 4
    assert found.ece == pytest.approx(0.275)


def test_bins_hold_their_upper_edge_and_empty_ones_are_left_out():
    right = np.array([True, True, False, True])
    assert reliability(np.array([0.5, 0.75, 0.76, 1.0]), right, bins=4) == (
        Bin(lower=0.25, upper=0.5, count=1, confidence=0.5, accuracy=1.0),
        Bin(lower=0.5, upper=0.75, count=1, confidence=0.75, accuracy=1.0),
        Bin(lower=0.75, upper=1.0, count=2, confidence=0.88, accuracy=0.5),
    )


def test_the_bins_add_up():
    random = np.random.default_rng(0)
    scores, right = random.uniform(0, 1, 1000).astype(np.float32), random.uniform(0, 1, 1000) < 0.7
    found = reliability(scores, right)
    assert sum(one.count for one in found) == 1000
    assert [(round(one.lower * BINS), round(one.upper * BINS)) for one in found] == [
        (place, place + 1) for place in range(BINS)
    ]
    assert sum(one.count * one.accuracy for one in found) == pytest.approx(right.sum())
    assert sum(one.count * one.confidence for one in found) == pytest.approx(scores.sum(), rel=1e-6)
    assert all(one.lower < one.confidence <= one.upper + 1e-7 for one in found)


def test_the_calibration_error_is_the_mean_gap():
    """Of four answers given with 0.9 three are right, of one with 0.5 none: (4 * 0.15 + 1 * 0.5) / 5."""
    found = reliability(np.array([0.9] * 4 + [0.5]), np.array([True, True, True, False, False]))
    assert expected_error(found) == pytest.approx(0.22)
    assert expected_error(reliability(np.array([1.0, 1.0]), np.array([True, True]))) == 0
