"""Every architecture as a Keras model: its inputs, its heads, its size, and what it says of options it can't use."""

import importlib
import re
import warnings

import keras
import numpy as np
import pytest
import shapes

from training import architectures
from training.architectures import ARCHITECTURES
from training.architectures.transfer import backbones
from training.config import PRESETS
from training.errors import ConfigInvalid, WeightsUnavailable

OPTIONS = {"transfer": {"weights": "none"}}


def build(name, shape=(28, 28, 1), heads=None, dropout=0.5, **options):
    return architectures.build(name, shape, heads or {"class": 10}, dropout, **(OPTIONS.get(name, {}) | options))


def pictures(model, count=5):
    random = np.random.default_rng(0)
    return {tensor.name: random.integers(0, 256, (count, *tensor.shape[1:]), np.uint8) for tensor in model.inputs}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 1), 10), ((13, 20, 3), 4)])
def test_any_shape_and_number_of_classes_gives_probabilities(name, shape, classes):
    model = build(name, shape, {"class": classes, "more": 2}, dropout=0.0)
    assert {(pixels.dtype, pixels.shape) for pixels in model.inputs} == {("uint8", (None, *shape))}
    # As in training: with the batch's own statistics the signal of untrained weights does not fade away.
    answers = {name: answer.numpy() for name, answer in model(pictures(model), training=True).items()}
    assert list(answers) == ["probabilities", "more_probabilities"]
    for probabilities, labels in zip(answers.values(), (classes, 2), strict=True):
        assert (probabilities.dtype, probabilities.shape) == (np.float32, (5, labels))
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert (probabilities.std(axis=0) > 0).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_models_inputs_and_heads_are_its_tasks(name, dataset):
    task = architectures.task_of(name, dataset)
    model = build(name, dataset.image_shape, task.classes)
    assert (tuple(model.input), list(model.output)) == (task.inputs, [head.output for head in task.heads])


@pytest.mark.parametrize(
    ("name", "shape", "heads"),
    [
        ("sequential", (28, 28, 1), {"class": 10}),
        ("accurate", (28, 28, 1), {"class": 10}),
        ("residual", (28, 28, 1), {"class": 10}),
        ("residual", (32, 32, 3), {"class": 10}),
        ("separable", (28, 28, 1), {"class": 10}),
        ("multi_output", (28, 28, 1), {"class": 10, "coarse": 5}),
        ("siamese", (28, 28, 1), {"same": 2}),
        ("transfer", (224, 224, 3), {"class": 10}),
    ],
)
def test_an_architecture_has_the_parameters_that_it_documents(name, shape, heads):
    documented = importlib.import_module(f"training.architectures.{name}").__doc__.replace("\n", " ")
    assert f"{build(name, shape, heads).count_params():,} parameters" in documented


def test_large_pictures_reach_the_residual_blocks_small():
    model = build("residual", (96, 96, 3))
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Add))
    assert first.output.shape == (None, 24, 24, 16)


def test_the_siamese_sides_share_their_layers():
    model = build("siamese", heads={"same": 2})
    images = pictures(model)["left"]
    same = model.predict({"left": images, "right": images}, verbose=0)["same_probabilities"]
    assert np.allclose(same, same[0], atol=1e-6)  # no difference, whatever the picture
    turned = {"left": images, "right": images[::-1].copy()}
    there = model.predict(turned, verbose=0)["same_probabilities"]
    back = model.predict({"left": turned["right"], "right": turned["left"]}, verbose=0)["same_probabilities"]
    assert np.allclose(there, back, atol=1e-6)
    assert np.abs(there - same).max() > 1e-4


def test_every_backbone_has_its_preprocessing_beside_it():
    modules = {name: importlib.import_module(builder.__module__) for name, builder in backbones().items()}
    assert len(modules) > 30
    assert all(callable(module.preprocess_input) for module in modules.values())


@pytest.mark.parametrize(
    ("backbone", "seen"),
    [
        ("MobileNetV2", lambda pixels: pixels / 127.5 - 1),
        ("VGG16", lambda pixels: pixels[..., ::-1] - (103.939, 116.779, 123.68)),
        ("DenseNet121", lambda pixels: (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)),
    ],
)
def test_a_backbone_gets_pixels_as_its_authors_prepared_them(backbone, seen):
    model = build("transfer", (32, 32, 3), backbone=backbone)
    network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    before = keras.Model(model.input, network._inbound_nodes[-1].input_tensors[0])
    images = pictures(model)
    assert np.allclose(before.predict(images, verbose=0), seen(images["image"].astype(float)), atol=1e-4)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Keras, about its own arrays
        keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(file)
    return str(file)


def test_weights_of_a_file_are_frozen_unless_some_are_fine_tuned(weights_file):
    def trained(**options):
        model = build("transfer", (32, 32, 3), weights=weights_file, **options)
        layers = [layer for each in model.layers for layer in getattr(each, "layers", [each]) if layer.weights]
        return [layer.name for layer in layers if layer.trainable]

    assert trained() == ["probabilities"]
    assert trained(fine_tune=9) == ["block_16_depthwise", "block_16_project", "Conv_1", "probabilities"]


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"backbone": "ResNet9000"}, ConfigInvalid, r"no backbone 'ResNet9000'; choose from .*MobileNetV2"),
        ({"backbone": "InceptionV3"}, ConfigInvalid, r"InceptionV3 can't take pictures of \[32, 32, 3\]: .*75"),
        (
            {"weights": "/nowhere.h5"},
            WeightsUnavailable,
            r"no file /nowhere.h5 of weights; give a file, imagenet or none",
        ),
        ({"weights": __file__}, WeightsUnavailable, r"test_architectures.py does not hold weights of MobileNetV2"),
    ],
)
def test_a_backbone_or_weights_that_cant_be_had_are_said(options, error, problem):
    with pytest.raises(error, match=problem) as caught:
        build("transfer", (32, 32, 3), **options)
    assert "\n" not in str(caught.value)


def test_imagenets_weights_without_a_network_are_said_in_one_sentence(monkeypatch, tmp_path):
    def no_network(*_args, **_kwargs):
        raise Exception("URL fetch failure on the address: unreachable")  # noqa: TRY002 - as Keras raises it

    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", no_network)
    sentence = r"the imagenet weights of MobileNetV2 can't be fetched \(URL fetch failure.*give a file of them"
    with pytest.raises(WeightsUnavailable, match=sentence):
        build("transfer", (32, 32, 3), weights=None)


def test_an_option_of_another_architecture_is_refused():
    with pytest.raises(ConfigInvalid, match="architecture residual has no backbone; leave it out, or choose transfer"):
        build("residual", backbone="VGG16")
    assert build("residual", backbone=None, fine_tune=0).name == "residual"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_an_architecture_that_there_is(name):
    assert PRESETS[name]().architecture in ARCHITECTURES


def test_an_unknown_architecture_is_told_which_there_are():
    with pytest.raises(ConfigInvalid, match=re.escape(f"'resnet'; choose from {', '.join(ARCHITECTURES)}")):
        build("resnet")


def test_a_dataset_that_does_not_fit_the_task_is_said(dataset):
    with pytest.raises(ConfigInvalid, match="does not say which coarser class"):
        architectures.task_of("multi_output", shapes.dataset(coarse_names=None))
