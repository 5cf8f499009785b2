import dataclasses

import pytest
import shapes

from training.config import PRESETS, preset
from training.datasets import LOADERS
from training.errors import ConfigInvalid


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -0.1),
        ("warmup", 1.0),
        ("dropout", -0.1),
        ("dropout", 1.0),
        ("fine_tune", -1),
        ("seed", -1),
        ("seed", 2**32),
        ("limit", 0),
    ],
)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(ConfigInvalid, match=f"^{field} is {value}"):
        shapes.config(**{field: value})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_a_dataset_that_there_is(name):
    assert preset(name).dataset in LOADERS


def test_an_unknown_preset_is_told_which_there_are():
    with pytest.raises(ConfigInvalid, match=r"'mnist'.*fashion_mnist"):
        preset("mnist")


def test_a_configuration_is_a_value_of_json_types():
    """The manifest holds it as it is."""
    values = dataclasses.asdict(shapes.config()).values()
    assert all(isinstance(value, str | int | float | bool | None) for value in values)
