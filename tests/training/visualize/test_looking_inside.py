"""Filters, feature maps, activation maximisation and features, on weights and pictures that are known."""

import keras
import numpy as np
import pytest
import small_models
from keras import layers

from training.visualize.cards import explanation_cards, feature_map_cards, filter_cards, percent
from training.visualize.embedding import features
from training.visualize.feature_maps import feature_maps, map_tiles
from training.visualize.filters import filter_tiles, first_filters
from training.visualize.maximise import maximise


def test_the_first_layers_filters_are_its_kernels():
    model = small_models.chain()
    found = first_filters(model)
    kernel = model.get_layer("first").get_weights()[0]
    assert found.path == "first"
    assert found.kernels.shape == (4, 3, 3, 1)
    assert np.array_equal(found.kernels[2, ..., 0], kernel[..., 0, 2])
    assert [tile.shape for tile in filter_tiles(found)] == [(3, 3, 3)] * 4


def test_a_kernel_over_colours_is_in_these_colours():
    model = small_models.residual()
    kernel = np.zeros((3, 3, 3, 4), np.float32)
    kernel[:, :, 0] = 1  # adds red, ignores the others
    model.get_layer("stem").set_weights([kernel, np.zeros(4)])
    (tile, *_) = filter_tiles(first_filters(model))
    assert (tile == (255, 128, 128)).all()


def test_a_depthwise_layer_has_a_filter_for_each_channel():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.DepthwiseConv2D(3, depth_multiplier=2)])
    assert first_filters(model).kernels.shape == (6, 3, 3, 1)


@pytest.mark.parametrize(("count", "note"), [(4, "4 filters"), (64, "64 filters"), (96, "96 filters, 64 shown")])
def test_filters_take_a_row_of_the_page_however_many_there_are(count, note):
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(count, 7)])
    (card,) = filter_cards(model)
    assert card.is_wide
    assert card.note == note


def test_feature_maps_are_the_layers_outputs():
    pixels = small_models.pictures(1)
    (maps,) = feature_maps(small_models.bright_or_dark(), {"image": pixels})
    assert maps.block.paths[0] == "maps"
    expected = pixels[0, ..., 0] / 255
    assert np.allclose(maps.maps, [expected, 1 - expected], atol=1e-6)
    assert [tile.shape for tile in map_tiles(maps)] == [(12, 12, 3)] * 2


def test_the_channels_that_vary_most_are_shown_in_their_order():
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(40, 1, name="many")])
    weights = np.zeros((1, 1, 1, 40))
    weights[..., 3:40:2] = np.arange(19)
    model.get_layer("many").set_weights([weights, np.zeros(40)])
    (maps,) = feature_maps(model, {"image": small_models.pictures(1, side=8)})
    means = maps.maps.mean(axis=(1, 2))
    assert maps.maps.shape[0] == 16
    assert (np.diff(means) > 0).all()
    assert means[0] > 0


def test_layers_within_inner_models_are_shown():
    maps = feature_maps(small_models.inner_transfer(), {"image": small_models.pictures(1)})
    assert [one.block.paths for one in maps] == [("backbone/deep",)]


def test_a_model_without_convolutions_has_nothing_to_show():
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    assert filter_cards(model) == []
    assert feature_map_cards(model, {"image": small_models.pictures(1, side=8)}) == []
    assert maximise(model) is None
    (card,) = explanation_cards(model, {"image": small_models.pictures(1, side=8)}, "probabilities", ("a", "b"))
    assert [caption for caption, _ in card.pictures] == ["picture", "saliency"]


@pytest.mark.parametrize("build", [small_models.chain, small_models.residual, small_models.siamese])
def test_maximisation_raises_every_filters_activation(build):
    keras.utils.set_random_seed(0)  # a filter that answers to fine grain alone takes more steps than these
    found = maximise(build(), steps=20)
    assert (found.after > found.before).all()
    assert found.pictures.dtype == np.uint8
    assert found.pictures.std(axis=(1, 2, 3)).min() > 1


def test_the_layer_that_is_maximised_is_named_and_not_what_normalises_it():
    pixels = keras.Input((8, 8, 1), name="image")
    normalised = layers.BatchNormalization()(layers.Conv2D(2, 3, name="deepest")(pixels))
    answer = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(layers.ReLU()(normalised)))
    assert maximise(keras.Model(pixels, answer), steps=1).path == "deepest"


def test_maximisation_finds_the_picture_that_is_known_to_be_best():
    """One map is the picture, the other its negative: a bright picture and a dark one."""
    found = maximise(small_models.bright_or_dark())
    assert found.path == "maps"
    bright, dark = found.pictures.mean(axis=(1, 2, 3))
    assert bright > 200
    assert dark < 55


def test_features_are_what_the_answer_is_made_from():
    model = small_models.bright_or_dark()
    pixels = small_models.pictures(120)
    mean = (pixels / 255).mean(axis=(1, 2, 3))
    assert np.allclose(features(model, {"image": pixels}, "probabilities"), np.stack([mean, 1 - mean], 1), atol=1e-5)


def test_a_single_sigmoid_has_two_labels():
    pixels = keras.Input((8, 8, 1))
    dense = layers.Dense(1, activation="sigmoid", kernel_initializer="ones", use_bias=False)
    model = keras.Model(pixels, dense(layers.Flatten()(layers.Conv2D(1, 1, kernel_initializer="ones")(pixels))))
    bright, dark = np.full((1, 8, 8, 1), 9, np.uint8), np.zeros((1, 8, 8, 1), np.uint8)
    cards = explanation_cards(model, {"image": np.concatenate([bright, dark])}, "probabilities", ("no", "yes"))
    assert [card.title for card in cards] == ["yes >99.9%", "no 50.0%"]


def test_certainty_is_never_made_up():
    assert [percent(one) for one in (0.5, 0.9994, 0.99951)] == ["50.0%", ">99.9%", ">99.9%"]
    assert percent(0.999) == "99.9%"
