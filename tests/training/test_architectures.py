import numpy as np
import pytest

from training import architectures
from training.architectures import ARCHITECTURES, sequential
from training.config import PRESETS
from training.errors import ConfigInvalid


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 1), 10), ((13, 20, 3), 4)])
def test_any_shape_and_number_of_classes_gives_probabilities(name, shape, classes):
    model = architectures.build(name, shape, {"class": classes, "more": 2}, dropout=0.5)
    assert {(pixels.dtype, pixels.shape) for pixels in model.inputs} == {("uint8", (None, *shape))}
    random = np.random.default_rng(0)
    answers = model.predict({name: random.integers(0, 256, (5, *shape), np.uint8) for name in model.input}, verbose=0)
    assert list(answers) == ["probabilities", "more_probabilities"]
    for probabilities, labels in zip(answers.values(), (classes, 2), strict=True):
        assert (probabilities.dtype, probabilities.shape) == (np.float32, (5, labels))
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert (probabilities.std(axis=0) > 0).all()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_an_architecture_that_there_is(name):
    assert PRESETS[name]().architecture in ARCHITECTURES


def test_the_small_network_is_as_small_as_its_documentation_says():
    model = sequential.build((28, 28, 1), {"class": 10}, dropout=0.0)
    assert f"{model.count_params():,} parameters" in sequential.__doc__


def test_an_unknown_architecture_is_told_which_there_are():
    with pytest.raises(ConfigInvalid, match=r"'resnet'.*sequential"):
        architectures.build("resnet", (28, 28, 1), {"class": 10}, 0.0)
