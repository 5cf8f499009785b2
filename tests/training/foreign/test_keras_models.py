"""Keras files and SavedModels: what is read off them, and what can't be used, said by name with the remedy."""

import json
import sys
import types
from pathlib import Path

import h5py
import keras
import keras_models
import numpy as np
import pytest
import tensorflow as tf

from training.errors import ConfigInvalid, ExportUnfaithful, ModelUnreadable
from training.foreign import keras_wrapping, reference
from training.foreign.deciding import decide
from training.foreign.publish import publish_foreign
from training.foreign.reading import read
from training.foreign.scaling import parse
from training.foreign.wishes import Wishes

HEIGHT, WIDTH = keras_models.HEIGHT, keras_models.WIDTH
layers = keras.layers

pytestmark = pytest.mark.usefixtures("brief", "proved_here")


class Module(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="bytes")])
    def of_bytes(self, bytes):  # noqa: A002
        return {"classes": tf.zeros((tf.shape(bytes)[0], 3))}

    @tf.function(input_signature=[tf.TensorSpec((2, 8, 10, 3), tf.float32, name="pixels")])
    def of_two(self, pixels):
        return {"classes": tf.nn.softmax(tf.reduce_mean(tf.reshape(pixels, (2, 80, 3)), 1))}

    @tf.function
    def of_pixels(self, pixels):
        return {"classes": tf.nn.softmax(tf.reduce_mean(pixels, (1, 2)))}


def wishes(labels=("a", "b", "c"), **said):
    return Wishes(labels=labels, labels_file=Path("labels.txt"), **said)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_keras_file_says_what_it_takes_and_gives(tmp_path, suffix):
    original = read(keras_models.save(keras_models.functional(), tmp_path / f"m{suffix}"))
    assert original.kind == "Keras model"
    assert (original.input.name, original.input.dtype, original.input.shape) == ("pixels", "float32", (None, 8, 10, 3))
    assert [spec.shape for spec in original.outputs] == [(None, 3)]
    assert original.last_steps == {original.outputs[0].name: "BiasAdd"}
    assert not original.opening.takes_raw


def test_the_preprocessing_of_keras_applications_is_found_as_operations(tmp_path):
    """`preprocess_input` inside a functional model leaves no layer with a name that would tell."""
    pixels = keras.Input((HEIGHT, WIDTH, 3))
    values = keras.applications.resnet50.preprocess_input(pixels)
    model = keras.Model(pixels, layers.Dense(3, "softmax")(layers.Flatten()(layers.Conv2D(2, 3)(values))))
    opening = read(keras_models.save(model, tmp_path / "m.keras")).opening
    assert opening.takes_raw
    assert (round(opening.black), round(opening.white)) == (-124, 151)


def test_a_scaling_for_pixels_of_0_to_1_is_not_taken_for_one_of_0_to_255(tmp_path):
    model = keras.Sequential(
        [keras.Input((HEIGHT, WIDTH, 3)), layers.Rescaling(2, offset=-1), layers.Flatten(), layers.Dense(3, "softmax")]
    )
    opening = read(keras_models.save(model, tmp_path / "m.keras")).opening
    assert (opening.steps, opening.takes_raw) == (("Mul", "AddV2"), False)


def test_a_model_of_two_outputs_is_asked_by_name(tmp_path):
    pixels = keras.Input((HEIGHT, WIDTH, 3))
    flat = layers.Flatten()(layers.Rescaling(1 / 255)(pixels))
    outputs = {"kind": layers.Dense(3, "softmax")(flat), "size": layers.Dense(2, "softmax")(flat)}
    original = read(keras_models.save(keras.Model(pixels, outputs), tmp_path / "m.keras"))
    assert {spec.name: spec.shape for spec in original.outputs} == {"kind": (None, 3), "size": (None, 2)}
    contract = decide(original, wishes(labels=("small", "large"), output="size"))
    pictures = np.random.default_rng(0).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8)
    wanted = original.predict(pictures.astype(np.float32))["size"]
    np.testing.assert_allclose(reference.expected(original, contract, pictures), wanted, atol=1e-6)


def test_yes_or_no_and_an_open_size(tmp_path):
    pixels = keras.Input((None, None, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(pixels))
    model = keras.Model(pixels, layers.Dense(1, activation="sigmoid")(features))
    original = read(keras_models.save(model, tmp_path / "m.keras"))
    contract = decide(original, wishes(labels=("no", "yes"), preprocess=parse("unit"), size=(12, 9)))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 12, 9, 3), np.uint8)
    yes = model.predict(pictures.astype(np.float32) / 255, verbose=0)
    graph = keras_wrapping.wrapped(lambda values: {original.outputs[0].name: model(values, training=False)}, contract)
    np.testing.assert_allclose(graph(pictures)["probabilities"].numpy(), np.hstack([1 - yes, yes]), atol=1e-6)
    np.testing.assert_allclose(reference.expected(original, contract, pictures), np.hstack([1 - yes, yes]), atol=1e-6)


def test_a_wrong_wrapping_is_noticed(tmp_path, monkeypatch):
    """What the proof is for: the graph forgets the scaling, the reference does not."""
    original = read(keras_models.save_grey(tmp_path / "m"))
    contract = decide(original, wishes(preprocess=parse("unit")))
    forgetful = keras_wrapping._prepared

    def raw(pixels, _, layout, dtype):
        return forgetful(pixels, parse("raw"), layout, dtype)

    monkeypatch.setattr(keras_wrapping, "_prepared", raw)
    with pytest.raises(ExportUnfaithful, match=r"differs from the original by more than 0\.0001: onnx at batch 1"):
        publish_foreign(original, contract, tmp_path / "models", "m")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_graph_that_onnx_cant_hold_is_published_as_saved_model_only(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 3)),
            layers.Rescaling(1 / 255),
            layers.Resizing(6, 6, antialias=True),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    original = read(keras_models.save(model, tmp_path / "m.keras"))
    published = publish_foreign(original, decide(original, wishes()), tmp_path / "models", "m")
    assert [variant.format for variant in published.bundle.manifest.variants] == ["saved_model"]
    assert published.notes[0].startswith(
        "there is no ONNX file, only a SavedModel, because ONNX has no operator for Scale"
    )
    assert not (published.bundle.path / "model.onnx").exists()


def test_a_model_that_answers_at_random_is_refused(tmp_path):
    """As Keras's own export makes it of a model with augmentation layers."""
    keras_models.sequential().export(tmp_path / "m", verbose=False)
    original = read(tmp_path / "m")
    contract = decide(original, wishes(preprocess=parse("raw"), activation="none"))
    with pytest.raises(
        ExportUnfaithful, match=r"answers the same pictures differently each time.*write it again without"
    ):
        publish_foreign(original, contract, tmp_path / "models", "m")


def test_a_fixed_batch_of_keras_layers_is_made_open(tmp_path):
    pixels = keras.Input(batch_shape=(4, HEIGHT, WIDTH, 3))
    model = keras.Model(pixels, layers.Dense(3, "softmax")(layers.Flatten()(pixels)))
    original = read(keras_models.save(model, tmp_path / "m.keras"))
    assert original.input.shape[0] == 4
    contract = decide(original, wishes(preprocess=parse("unit")))
    graph = keras_wrapping.wrapped(lambda values: {original.outputs[0].name: model(values, training=False)}, contract)
    pictures = np.random.default_rng(0).integers(0, 256, (7, HEIGHT, WIDTH, 3), np.uint8)
    answers = graph(pictures)["probabilities"].numpy()
    np.testing.assert_allclose(answers, reference.expected(original, contract, pictures), atol=1e-6)


def test_a_fixed_batch_of_a_signature_is_refused(tmp_path):
    module = Module()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.of_two})
    original = read(tmp_path / "m")
    contract = decide(original, wishes(preprocess=parse("unit")))
    with pytest.raises(
        ExportUnfaithful, match=r"made for batches of exactly 2 .*; export it again with a dynamic batch"
    ):
        publish_foreign(original, contract, tmp_path / "models", "m")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_layer_of_ones_own_is_named_and_read_where_the_user_says_so(tmp_path, monkeypatch):
    file, old = (keras_models.save(keras_models.with_own_layer(), tmp_path / name) for name in ("m.keras", "m.h5"))
    forgotten = {key: value for key, value in keras.saving.get_custom_objects().items() if "Doubling" in key}
    for key in forgotten:
        monkeypatch.delitem(keras.saving.get_custom_objects(), key)
    monkeypatch.setattr("keras.src.saving.object_registration.GLOBAL_CUSTOM_NAMES", {})
    monkeypatch.delattr(keras_models, "Doubling")
    named = "'Doubling', registered as 'mine>Doubling', is not a layer of Keras; give --custom {}:Doubling, where"
    for model, module in ((file, "keras_models"), (old, "module")):
        with pytest.raises(ModelUnreadable, match=named.format(module)):
            read(model)


def test_what_custom_names_is_imported_from_the_folder_of_the_command(tmp_path, monkeypatch):
    (tmp_path / "my_layers.py").write_text("import keras\nclass Halving(keras.layers.Layer):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    from training.foreign.keras_file import imported

    name, found = imported("my_layers:Halving")
    assert (name, found.__module__) == ("Halving", "my_layers")
    sys.modules.pop("my_layers")
    for wrong in ("my_layers:Third", "nowhere:Halving", "my_layers", ":x"):
        with pytest.raises(ConfigInvalid, match=f"--custom {wrong} can't be imported .*give module:Name"):
            imported(wrong)


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_damaged_file_is_said(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(ModelUnreadable, match=rf"{name}: Keras can't read it: "):
        read(tmp_path / name)


def test_weights_alone_are_no_model(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["weights"] = [1.0]
    with pytest.raises(ModelUnreadable, match="it holds weights and no model; save the model itself"):
        read(tmp_path / "m.h5")


@pytest.fixture
def of_keras_2(tmp_path):
    """Arithmetic on pixels, as Keras 2 wrote it down and Keras 3 can't read it."""
    layer = {"class_name": "TFOpLambda", "config": {"name": "tf.math.truediv", "function": "math.truediv"}}
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": [layer]}})
    return tmp_path / "old.h5"


def test_what_keras_3_cant_read_is_tried_with_tf_keras(of_keras_2, monkeypatch):
    """tf-keras is not installed with Convoy; a stand-in shows that its model is taken by way of a SavedModel."""

    class Model:
        def export(self, folder):
            keras_models.save_grey(folder)

    reader = types.ModuleType("tf_keras")
    reader.models = types.SimpleNamespace(load_model=lambda *_, **__: Model())
    monkeypatch.setitem(sys.modules, "tf_keras", reader)
    original = read(of_keras_2)
    assert (original.path.name, original.kind, original.input.shape) == ("old.h5", "SavedModel", (None, 8, 10))
    assert original.notes == ("Keras 3 can't read it, tf-keras did",)
    assert original.predict(np.zeros((2, 8, 10), np.float32))["classes"].shape == (2, 3)


def test_without_tf_keras_it_is_proposed(of_keras_2, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ModelUnreadable, match="if Keras 2 wrote it, tf-keras may read it: pip install tf-keras"):
        read(of_keras_2)


def test_the_depthwise_layers_of_keras_2_are_read(tmp_path):
    """It wrote "groups" into their configuration, which Keras 3 refuses; so do all its MobileNets."""
    pixels = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(pixels, layers.Dense(3, "softmax")(layers.Flatten()(layers.DepthwiseConv2D(3)(pixels))))
    file = keras_models.save(model, tmp_path / "m.h5")
    with h5py.File(file, "r+") as content:
        config = json.loads(content.attrs["model_config"])
        [depthwise] = [one for one in config["config"]["layers"] if one["class_name"] == "DepthwiseConv2D"]
        depthwise["config"]["groups"] = 1
        content.attrs["model_config"] = json.dumps(config)
    pictures = np.random.default_rng(0).random((2, HEIGHT, WIDTH, 3), np.float32)
    [answers] = read(file).predict(pictures).values()
    np.testing.assert_allclose(answers, model.predict(pictures, verbose=0), atol=1e-6)


def test_models_of_several_inputs_are_refused(tmp_path):
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    model = keras.Model([left, right], layers.Dense(2)(layers.Flatten()(layers.Add()([left, right]))))
    with pytest.raises(ModelUnreadable, match=r"has 2 inputs \(left, right\); only one, of pictures, can be used"):
        read(keras_models.save(model, tmp_path / "m.keras"))


def test_a_signature_that_takes_bytes_is_refused_with_the_remedy(tmp_path):
    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.of_bytes})
    with pytest.raises(
        ModelUnreadable, match=r"serving_default\(bytes: string \[None\]\).*decoded by Convoy, not by the"
    ):
        read(tmp_path)


def test_another_signature_that_takes_pixels_is_found(tmp_path):
    module = Module()
    of_pixels = module.of_pixels.get_concrete_function(tf.TensorSpec((None, 8, 10, 3), tf.float32, name="pixels"))
    signatures = {"serving_default": module.of_bytes, "raw": of_pixels}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    original = read(tmp_path)
    assert original.input.shape == (None, 8, 10, 3)
    assert original.notes == ("signature 'raw' is used",)


def test_a_folder_without_a_model_is_said(tmp_path):
    with pytest.raises(ModelUnreadable, match=r"there is no saved_model\.pb in this folder"):
        read(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(ModelUnreadable, match="TensorFlow can't read it"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("m.pth", "export it with torch.onnx.export"), ("saved_model.pb", "give the folder"), ("m.tflite", "publish the")],
)
def test_other_kinds_of_files_have_a_remedy(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelUnreadable, match=f"{name}: this is not a kind of model that can be read; {remedy}"):
        read(tmp_path / name)


def test_custom_is_for_keras_files(tmp_path):
    with pytest.raises(ConfigInvalid, match="--custom is for Keras files"):
        read(tmp_path, ["module:Name"])
