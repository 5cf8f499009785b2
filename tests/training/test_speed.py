"""The speed of exported variants: measured for each, with every input, on few rows."""

import numpy as np
import pytest

from training import speed


def test_every_variant_is_measured_at_both_batch_sizes(published, dataset):
    found = speed.measure(published.path, published.manifest.variants, {"image": dataset.test.images[:2]}, seconds=0)
    assert [variant.name for variant in published.manifest.variants] == ["onnx", "saved_model", "int8"]
    assert [(one.variant, one.batch_size) for one in found] == [
        (variant.name, size) for variant in published.manifest.variants for size in (1, 16)
    ]
    assert all(one.images_per_second > 0 for one in found)


def test_the_machine_is_named():
    assert speed.machine().endswith("cores")
    assert not speed.machine().startswith(",")


@pytest.mark.parametrize("size", speed.BATCH_SIZES)
def test_rows_are_repeated_to_fill_a_batch(size):
    """Every run gets whole batches of the model's own shape, whatever few pictures there are."""
    seen = []

    def run(inputs):
        seen.append(inputs["image"])
        return {}

    speed.OPENERS["counting"] = lambda _: run
    try:
        variant = type("Variant", (), {"name": "v", "format": "counting", "path": "."})
        speed.measure(__import__("pathlib").Path(), [variant], {"image": np.ones((3, 4, 4, 1), np.uint8)}, seconds=0)
    finally:
        del speed.OPENERS["counting"]
    assert any(batch.shape == (size, 4, 4, 1) for batch in seen)
    assert all((batch == 1).all() for batch in seen)
