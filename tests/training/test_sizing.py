"""How many epochs a recipe gets on few pictures and on many."""

import dataclasses

import pytest
import shapes

from training.cli import _config
from training.sizing import sized, steps_of_epoch


def recipe(**changes):
    values = {"epochs": 30, "batch_size": 64, "least_steps": 600, "least_batch": 16, "patience": 10}
    return shapes.config(**(values | changes))


@pytest.mark.parametrize(
    ("pictures", "batch_size", "epochs", "patience"),
    [
        (118, 16, 86, 0),
        (255, 16, 40, 0),
        (256, 32, 75, 0),
        (511, 32, 40, 0),
        (512, 64, 75, 0),
        (1280, 64, 30, 10),
        (50_000, 64, 30, 10),
        (1, 16, 600, 0),
    ],
)
def test_few_pictures_get_smaller_batches_and_more_epochs_none_of_them_spared(pictures, batch_size, epochs, patience):
    found = sized(recipe(), pictures)
    assert found == dataclasses.replace(recipe(), batch_size=batch_size, epochs=epochs, patience=patience)
    assert found.epochs * steps_of_epoch(found, pictures) >= 600


@pytest.mark.parametrize("pictures", [1, 118, 1279, 50_000])
def test_the_second_time_nothing_changes(pictures):
    """So what the manifest holds trains the same again."""
    once = sized(recipe(), pictures)
    assert sized(once, pictures) == once


def test_without_limits_it_is_what_was_said():
    assert sized(recipe(least_steps=0, least_batch=0), 1) == recipe(least_steps=0, least_batch=0)


def test_epochs_that_are_given_are_kept_to():
    assert _config(None, None, None, {"data": "flowers"}).least_steps > 0
    assert _config(None, None, None, {"data": "flowers", "epochs": 3}).least_steps == 0
    assert _config(None, None, None, {"data": "flowers", "epochs": 3, "least_steps": 9}).least_steps == 9


def test_a_batch_size_that_is_given_is_kept_to():
    assert _config(None, None, None, {"data": "flowers"}).least_batch > 0
    assert _config(None, None, None, {"data": "flowers", "batch_size": 64}).least_batch == 0
