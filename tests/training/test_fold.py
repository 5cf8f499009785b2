"""A temperature in the weights gives what it would give after them, or nothing is changed."""

import keras
import numpy as np
import pytest

from training.asking import predict
from training.calibrate import tempered
from training.fold import fold_temperatures

SHAPE = (6, 6, 1)
layers = keras.layers


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rows():
    return {"image": np.random.default_rng(0).integers(0, 256, (40, *SHAPE), np.uint8)}


def trunk():
    image = keras.Input(SHAPE, dtype="uint8", name="image")
    return image, layers.Flatten()(layers.Rescaling(1 / 64)(image))


def fused(features):
    return layers.Dense(3, activation="softmax")(features)


def activation_layer(features):
    return layers.Activation("softmax")(layers.Dense(3)(features))


def softmax_layer(features):
    return layers.Softmax()(layers.Dense(3)(features))


def nested(features):
    inside = keras.Input(features.shape[1:])
    return keras.Model(inside, fused(inside))(features)


@pytest.mark.parametrize("head", [fused, activation_layer, softmax_layer, nested])
def test_the_folded_model_gives_the_tempered_answers(rows, head):
    image, features = trunk()
    model = keras.Model(image, {"probabilities": head(features)})
    before = predict(model, rows)["probabilities"]
    assert fold_temperatures(model, {"probabilities": 0.6}, rows) == ("probabilities",)
    after = predict(model, rows)["probabilities"]
    np.testing.assert_allclose(after, tempered(before, 0.6), atol=1e-5)
    assert np.abs(after - before).max() > 0.05


def test_a_sequential_model_with_one_output_is_folded(rows):
    model = keras.Sequential([keras.Input(SHAPE, dtype="uint8", name="image"), layers.Rescaling(1 / 64)])
    model.add(layers.Flatten())
    model.add(layers.Dense(3, activation="softmax"))
    before = predict(model, rows)["probabilities"]
    assert fold_temperatures(model, {"probabilities": 2.0}, rows) == ("probabilities",)
    np.testing.assert_allclose(predict(model, rows)["probabilities"], tempered(before, 2.0), atol=1e-5)


def test_each_head_has_its_own_temperature(rows):
    image, features = trunk()
    model = keras.Model(image, {"one": fused(features), "two": fused(features), "three": fused(features)})
    before = predict(model, rows)
    assert fold_temperatures(model, {"one": 0.5, "three": 3.0}, rows) == ("one", "three")
    after = predict(model, rows)
    np.testing.assert_allclose(after["one"], tempered(before["one"], 0.5), atol=1e-5)
    np.testing.assert_array_equal(after["two"], before["two"])
    np.testing.assert_allclose(after["three"], tempered(before["three"], 3.0), atol=1e-5)


def shared(features):
    logits = layers.Dense(3)(features)
    return {"one": layers.Softmax()(logits), "two": layers.Softmax()(logits)}


def sigmoid(features):
    return {"one": layers.Dense(3, activation="sigmoid")(features)}


def no_dense(features):
    return {"one": layers.Softmax()(layers.Rescaling(0.1)(features))}


def mixed(features):
    return {"one": layers.Average()([fused(features), fused(features)])}


@pytest.mark.parametrize("heads", [shared, sigmoid, no_dense, mixed])
def test_a_head_that_cant_be_folded_is_left_as_it_was(rows, heads):
    image, features = trunk()
    model = keras.Model(image, heads(features))
    before = predict(model, rows)
    assert fold_temperatures(model, {"one": 0.5}, rows) == ()
    for name, answers in predict(model, rows).items():
        np.testing.assert_array_equal(answers, before[name])
