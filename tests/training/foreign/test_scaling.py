"""`--preprocess`: the names, figures of one's own, and what can't be meant."""

import numpy as np
import pytest

from training.errors import ConfigInvalid
from training.foreign.scaling import NAMED, Scaling, parse


def scaled(scaling, pixel):
    """One RGB pixel, computed apart from the product."""
    values = np.array(pixel, float)[::-1] if scaling.bgr else np.array(pixel, float)
    return (values - scaling.mean) / scaling.std


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("raw", [0, 51, 255]),
        ("unit", [0, 0.2, 1]),
        ("symmetric", [-1, -0.6, 1]),
        ("imagenet-torch", [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]),
        ("imagenet-caffe", [255 - 103.939, 51 - 116.779, -123.68]),
    ],
)
def test_every_name_is_the_arithmetic_that_it_is_known_for(name, wanted):
    np.testing.assert_allclose(scaled(parse(name), [0, 51, 255]), wanted, rtol=1e-6)


def test_figures_of_ones_own_are_in_units_of_0_to_255():
    assert parse("mean=127.5,std=64") == Scaling("mean=127.5,std=64", (127.5,), (64.0,), own=True)
    colours = parse("mean=1,2,3, std=50,60,70, bgr")
    assert (colours.mean, colours.std, colours.bgr) == ((1.0, 2.0, 3.0), (50.0, 60.0, 70.0), True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "torch",
            r"--preprocess torch is not known; choose raw \(0\.\.255\), unit \(x/255\), .*mean=\.\.\.,std=\.\.\.",
        ),
        ("mean=5", "is not known; choose"),
        ("mean=5,std=", "is not known; choose"),
        ("mean=5,std=1,,2", "'1,,2' is not a list of numbers"),
        ("mean=5,std=1,2", "one figure for all channels or one for each of three"),
        ("mean=5,std=0", "std must be above 0"),
        ("mean=1e999,std=3", "every figure must be finite"),
        (
            "mean=0.485,0.456,0.406,std=0.229,0.224,0.225",
            r"pixels of 0\.\.1, .*give mean=123\.675,116\.28,103\.53,std=58",
        ),
    ],
)
def test_what_cant_be_meant_is_said(text, sentence):
    with pytest.raises(ConfigInvalid, match=sentence):
        parse(text)


def test_colours_dont_fit_grey_pictures():
    assert [name for name, scaling in NAMED.items() if not scaling.fits(1)] == ["imagenet-torch", "imagenet-caffe"]
    assert all(scaling.fits(3) for scaling in NAMED.values())
