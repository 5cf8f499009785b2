"""Heads settled on a validation split and judged on a test split, of a model whose every score is known.

A picture is three pixels, the model's logits are those pixels over 16, and the labels have the odds of another
temperature: what must be found is known in advance.
"""

import dataclasses

import keras
import numpy as np
import pytest

from training.asking import predict
from training.confidence import LEAST_EXAMPLES, settle
from training.datasets import Dataset, Split
from training.tasks import CLASS_HEAD, TASKS

TRUE_TEMPERATURE = 2.0


def split(count, seed):
    random = np.random.default_rng(seed)
    images = random.integers(0, 128, (count, 1, 3, 1), np.uint8)
    powers = np.exp(images.reshape(count, 3) / 16 / TRUE_TEMPERATURE)
    chances = (powers / powers.sum(axis=1, keepdims=True)).cumsum(axis=1)
    return Split(images, (random.random((count, 1)) > chances).sum(axis=1).astype(np.int64))


@pytest.fixture(scope="module")
def dataset():
    return Dataset("odds", ("a", "b", "c"), split(10, 1), split(8_000, 2), split(8_000, 3), "sha256:" + "0" * 64)


@pytest.fixture(scope="module")
def task(dataset):
    return TASKS["classification"](dataset)


def model(activation="softmax"):
    image = keras.Input((1, 3, 1), dtype="uint8", name="image")
    dense = keras.layers.Dense(3, activation=activation)
    built = keras.Model(image, {"probabilities": dense(keras.layers.Flatten()(keras.layers.Rescaling(1 / 16)(image)))})
    dense.set_weights([np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    return built


def test_the_temperature_is_fitted_folded_and_judged_on_other_pictures(dataset, task):
    calibrated = model()
    found = settle(calibrated, task, dataset, calibrate=True, abstain_precision=None)[CLASS_HEAD]
    assert found.temperature == pytest.approx(TRUE_TEMPERATURE, rel=0.05)
    assert found.before.ece > 0.1
    assert found.after.ece < 0.02
    assert found.after.nll < found.before.nll
    assert (found.threshold, found.test_precision, found.test_coverage) == (None, None, None)
    answers = predict(calibrated, {"image": dataset.test.images})["probabilities"]
    right = (answers.argmax(axis=1) == dataset.test.labels).mean()
    assert answers.max(axis=1).mean() == pytest.approx(right, abs=0.02)
    assert found.metrics.keys() == {"test_ece", "test_nll", "test_ece_uncalibrated", "test_nll_uncalibrated"}


def test_an_uncalibrated_model_is_left_as_it_was(dataset, task):
    plain = model()
    before = predict(plain, {"image": dataset.test.images})["probabilities"]
    found = settle(plain, task, dataset, calibrate=False, abstain_precision=None)[CLASS_HEAD]
    np.testing.assert_array_equal(predict(plain, {"image": dataset.test.images})["probabilities"], before)
    assert found.temperature is None
    assert found.before == found.after


@pytest.mark.parametrize(("count", "fitted"), [(LEAST_EXAMPLES - 1, False), (LEAST_EXAMPLES, True)])
def test_a_temperature_is_fitted_on_enough_pictures_only(dataset, task, count, fitted):
    said = []
    few = dataclasses.replace(dataset, validation=split(count, 2))
    found = settle(model(), task, few, calibrate=True, abstain_precision=None, say=said.append)[CLASS_HEAD]
    assert (found.temperature is not None) == fitted
    assert any("99 validation pictures are too few" in sentence for sentence in said) != fitted


def test_the_wished_precision_holds_on_pictures_that_had_no_say(dataset, task):
    said = []
    found = settle(model(), task, dataset, calibrate=True, abstain_precision=0.8, say=said.append)[CLASS_HEAD]
    assert found.threshold.precision >= 0.8
    [sentence] = said
    assert sentence.startswith(f"head {CLASS_HEAD!r} abstains below a score of {found.threshold.score:.3f}: 80.")
    assert sentence.endswith(f" are right, and those are {found.threshold.coverage:.1%} of all")
    assert found.test_precision == pytest.approx(0.8, abs=0.02)
    assert 0.2 < found.test_coverage < 0.9
    assert found.metrics["test_answered_coverage"] == found.test_coverage


def test_a_precision_that_cant_be_had_is_said_with_the_best_that_can(dataset, task):
    said = []
    found = settle(model(), task, dataset, calibrate=True, abstain_precision=0.9999, say=said.append)[CLASS_HEAD]
    assert found.threshold is None
    [sentence] = said
    assert "no least score makes 99.99% of its validation answers right; the best is 9" in sentence


def test_a_head_that_has_no_temperature_is_named(dataset, task):
    said = []
    found = settle(model("sigmoid"), task, dataset, calibrate=True, abstain_precision=None, say=said.append)
    assert found[CLASS_HEAD].temperature is None
    [sentence] = said
    assert sentence.startswith(
        "head 'class' is not calibrated, so a score of 0.9 need not be right 9 times in 10: it does"
    )
