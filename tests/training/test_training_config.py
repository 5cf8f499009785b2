import dataclasses

import pytest
import shapes

from training.errors import ConfigInvalid
from training.presets import PRESETS, preset


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
        ("abstain_precision", 0.0),
        ("abstain_precision", 1.01),
        ("int8_pictures", 0),
        ("int8_max_loss", -0.01),
        ("int8_min_agreement", float("nan")),
    ],
)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(ConfigInvalid, match=f"^{field} is {value}"):
        shapes.config(**{field: value})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_found_by_what_it_is_for(name):
    family = "fashion_mnist" if name.startswith("fashion_mnist") else "pictures"
    dataset = "fashion_mnist" if family == "fashion_mnist" else "files"
    variant = name.removeprefix(family).removeprefix("_") or None
    assert preset(dataset, variant) == PRESETS[name]()


def test_what_comes_by_name_has_the_recipe_of_pictures():
    assert preset("keras:cifar10").architecture == preset("files").architecture
    assert preset("tfds:beans", "quick").dataset == "tfds:beans"


def test_an_unknown_preset_is_told_which_there_are():
    with pytest.raises(ConfigInvalid, match=r"'mnist'.*fashion_mnist"):
        preset("mnist")


def test_a_configuration_is_a_value_of_json_types():
    """The manifest holds it as it is."""
    values = dataclasses.asdict(shapes.config()).values()
    assert all(isinstance(value, str | int | float | bool | None) for value in values)
