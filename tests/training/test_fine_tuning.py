"""A backbone with weights of its own: the head alone is trained first, then some of the backbone, at a lower rate.

The backbone is one of two convolutions, so that a graph of it is made within a second.
"""

import dataclasses
import warnings

import keras
import numpy as np
import pytest
import shapes

from training.architectures import backbones, transfer
from training.fitting.runs import open_run
from training.train import Logging, train


def preprocess_input(pixels):
    return pixels / 127.5 - 1


def tiny(include_top, weights, input_shape, pooling):
    keras.utils.set_random_seed(1)
    pixels = keras.Input(input_shape)
    features = keras.layers.Conv2D(4, 3, strides=2, name="early")(pixels)
    features = keras.layers.BatchNormalization(name="early_normalisation")(features)
    features = keras.layers.Conv2D(4, 3, strides=2, name="late")(features)
    features = keras.layers.BatchNormalization(name="late_normalisation")(features)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(features)), name="tiny")


@pytest.fixture(scope="module", autouse=True)
def _tiny_is_a_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "NAMES", ("tiny",))
        patch.setattr(transfer, "backbones", lambda: {"tiny": tiny})
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Keras, about its own arrays
        tiny(include_top=False, weights=None, input_shape=(36, 36, 3), pooling="avg").save_weights(file)
    return str(file)


@pytest.fixture(scope="module")
def few():
    return shapes.dataset(train=24, validation=6, test=6, channels=3)


@pytest.fixture(scope="module")
def config(weights):
    return shapes.config(
        architecture="transfer",
        backbone="tiny",
        weights=weights,
        fine_tune=4,
        epochs=4,
        head_epochs=2,
        batch_size=8,
        warmup=0.0,
    )


class Ending:
    """A run folder in which the process is ended right after a number of checkpoints."""

    def __init__(self, run, saves):
        self.run, self.left = run, saves

    def __getattr__(self, name):
        return getattr(self.run, name)

    def save(self, *arguments):
        self.run.save(*arguments)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(config, few):
    return train(config, few)


@pytest.fixture(scope="module")
def ended(tmp_path_factory, config, few):
    """Runs that were ended after each number of epochs, by that number."""

    def end(saves):
        folder = tmp_path_factory.mktemp("run") / str(saves)
        with open_run(folder, config, None) as run:
            run.begin()
            with pytest.raises(KeyboardInterrupt):
                train(config, few, Logging(run=Ending(run, saves)))
        return folder

    return {saves: end(saves) for saves in (1, 2, 3)}


@pytest.fixture(scope="module")
def states(ended, few):
    """The state of all variables after each number of epochs."""
    found = {}
    for saves, folder in ended.items():
        with open_run(folder, None, None) as run:
            found[saves] = run.load(few.digest)[1]
    return found


def changed(before, after, model):
    """The layers of the model whose weights are not the same; the model's variables are the first of a state's."""
    each = zip(model.variables, before, after, strict=False)
    names = {variable.path.split("/")[-2] for variable, one, other in each if (one != other).any()}
    return {name for name in names if not name.startswith("seed_generator")}  # dropout's, numbered within the process


def test_first_the_head_alone_is_trained_then_the_last_layers_too(whole, states):
    assert changed(states[1], states[2], whole.model) == {"probabilities"}
    assert changed(states[2], states[3], whole.model) == {"probabilities", "late"}


def test_the_backbone_has_its_weights_and_batch_normalisation_its_statistics(whole, weights):
    before = tiny(include_top=False, weights=None, input_shape=(36, 36, 3), pooling="avg")
    before.load_weights(weights)
    for name in ("early", "early_normalisation", "late_normalisation"):
        found = whole.model.get_layer("tiny").get_layer(name).get_weights()
        for one, other in zip(before.get_layer(name).get_weights(), found, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_run_that_was_ended_in_any_phase_ends_the_same(config, few, whole, ended, saves):
    with open_run(ended[saves], config, None) as run:
        again = train(config, few, Logging(run=run))
    assert again.history == whole.history
    for one, other in zip(again.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_patience_does_not_leave_out_the_second_phase(config, few):
    """At a rate at which nothing gets better, one epoch of patience would be over before it."""
    still = dataclasses.replace(config, patience=1, learning_rate=1e-12)
    assert len(train(still, few).history["loss"]) >= 3


def test_a_third_of_the_epochs_is_for_the_head_unless_it_is_said():
    assert shapes.config(epochs=30, fine_tune=5).first_epochs == 10
    assert shapes.config(epochs=30, fine_tune=5, head_epochs=0).first_epochs == 0
    assert shapes.config(epochs=30, fine_tune=0).first_epochs == 0
