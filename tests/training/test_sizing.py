"""How many epochs a recipe gets on few pictures and on many."""

import dataclasses

import pytest
import shapes

from training.cli import _config
from training.sizing import sized, steps_of_epoch


def recipe(**changes):
    return shapes.config(**({"epochs": 30, "batch_size": 64, "least_steps": 600, "patience": 10} | changes))


@pytest.mark.parametrize(
    ("pictures", "epochs", "patience"),
    [(118, 600, 200), (128, 300, 100), (1280, 30, 10), (1279, 32, 11), (50_000, 30, 10), (1, 600, 200)],
)
def test_few_pictures_get_more_epochs_and_as_much_more_patience(pictures, epochs, patience):
    found = sized(recipe(), pictures)
    assert (found.epochs, found.patience) == (epochs, patience)
    assert found.epochs * steps_of_epoch(found, pictures) >= 600
    assert found == dataclasses.replace(recipe(), epochs=epochs, patience=patience)


@pytest.mark.parametrize("pictures", [1, 118, 1279, 50_000])
def test_the_second_time_nothing_changes(pictures):
    """So what the manifest holds trains the same again."""
    once = sized(recipe(), pictures)
    assert sized(once, pictures) == once


def test_without_a_least_number_the_epochs_are_what_was_said():
    assert sized(recipe(least_steps=0), 1) == recipe(least_steps=0)


def test_epochs_that_are_given_are_kept_to():
    assert _config(None, None, None, {"data": "flowers"}).least_steps > 0
    assert _config(None, None, None, {"data": "flowers", "epochs": 3}).least_steps == 0
    assert _config(None, None, None, {"data": "flowers", "epochs": 3, "least_steps": 9}).least_steps == 9
