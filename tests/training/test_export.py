"""The exported files as a server sees them, and the traps of exporting from Keras."""

import errno
import os
import re

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from bundle.manifest import Signature, TensorSpec
from training import architectures, replay
from training.asking import predict
from training.errors import ExportUnfaithful
from training.export import export

SHAPE = (12, 12, 1)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (9, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    model = architectures.build("sequential", SHAPE, {"class": 3}, dropout=0.5)
    return model, folder, export(model, folder)


def differences(model, folder, images):
    """Of each format at each batch size, in this process, to Keras."""
    expected = predict(model, {"image": images})["probabilities"]
    for name in replay.OPENERS:
        run = replay.open_format(name, folder)
        for size in (1, 4, 9):
            answers = replay.in_batches(run, {"image": images}, size)["probabilities"]
            yield name, size, np.abs(answers - expected).max()


def test_the_signature_says_what_a_client_must_send(exported):
    assert exported[2] == Signature(
        inputs=(TensorSpec(name="image", dtype="uint8", shape=(None, *SHAPE)),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(None, 3)),),
    )


def test_the_onnx_file_has_this_signature_with_a_named_batch(exported):
    model = onnx.load(exported[1] / "model.onnx")
    values = (*model.graph.input, *model.graph.output)
    dimensions = [[size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in values]
    assert [value.name for value in values] == ["image", "probabilities"]
    assert dimensions == [["batch", *SHAPE], ["batch", 3]]
    assert values[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {(opset.domain, opset.version) for opset in model.opset_import} >= {("", 17)}


def test_the_saved_model_has_this_signature(exported):
    signature = tf.saved_model.load(str(exported[1])).signatures["serving_default"]
    _, inputs = signature.structured_input_signature
    assert inputs == {"image": tf.TensorSpec((None, *SHAPE), tf.uint8, "image")}
    assert signature.structured_outputs["probabilities"].shape.as_list() == [None, 3]


def test_the_saved_model_stores_each_weight_once(exported):
    model, folder, _ = exported
    weights = sum(weight.nbytes for weight in map(np.asarray, model.get_weights()))
    stored = (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert weights <= stored < 1.5 * weights


def test_both_give_the_answers_of_keras(exported, images):
    model, folder, _ = exported
    assert [(name, size) for name, size, difference in differences(model, folder, images) if difference > 1e-5] == []


def test_layers_that_are_random_in_training_are_still(tmp_path, images):
    """Keras's own export leaves image layers active and normalises by the batch after them."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE, dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            layers.RandomFlip(),
            layers.RandomTranslation(0.3, 0.3),
            layers.GaussianNoise(0.5),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    export(model, tmp_path)
    assert [(name, size) for name, size, difference in differences(model, tmp_path, images) if difference > 1e-5] == []


def test_padding_before_pooling_is_right_for_negative_values(tmp_path, images):
    """ONNX Runtime 1.31's Pad_Fusion was not, and that release may still be installed."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE, dtype="uint8", name="image"),
            layers.Rescaling(1 / 255, offset=-2),
            layers.ZeroPadding2D(1),
            layers.MaxPooling2D(3, 2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    export(model, tmp_path)
    assert [(name, size) for name, size, difference in differences(model, tmp_path, images) if difference > 1e-5] == []


ANTIALIASED = lambda layers: layers.Resizing(6, 6, antialias=True, name="shrink")  # noqa: E731
GROUPED = lambda layers: layers.Conv2D(4, 3, groups=2, name="grouped")  # noqa: E731


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (ANTIALIASED, r"ScaleAndTranslate \(at .*/shrink_\d+/.*\)"),
        (GROUPED, r"StatefulPartitionedCall \(at .*/grouped_\d+/.*\)"),
    ],
)
def test_a_model_that_onnx_cant_express_is_a_saved_model_only(tmp_path, images, layer, problem, caplog):
    """The converter itself ends without an error and writes a file with an operator that ONNX does not have."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE, dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(2, 1),
            layer(layers),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    said = []
    export(model, tmp_path, said.append)
    (sentence,) = said
    assert re.search(f"only a SavedModel, because ONNX has no operator for {problem}$", sentence)
    assert replay.formats_in(tmp_path) == ("saved_model",)
    assert not (tmp_path / "model.onnx").exists()
    assert caplog.records == []
    answers = replay.open_format("saved_model", tmp_path)({"image": images})["probabilities"]
    assert np.abs(answers - predict(model, {"image": images})["probabilities"]).max() < 1e-5


def test_constants_of_a_layer_are_constants_of_the_graph(tmp_path, images):
    """Keras's own export leaves the mean and the variance as two more inputs."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE, dtype="uint8", name="image"),
            layers.Normalization(mean=[100.0], variance=[50.0]),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    export(model, tmp_path)
    assert [value.name for value in onnx.load(tmp_path / "model.onnx").graph.input] == ["image"]
    assert [(name, size) for name, size, difference in differences(model, tmp_path, images) if difference > 1e-5] == []


def test_a_model_that_cant_be_exported_at_all_is_refused(tmp_path):
    pixels = keras.Input(SHAPE, dtype="uint8", name="image")
    scores = keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Rescaling(1.0)(pixels)))
    (tmp_path / "variables").write_text("a file where a folder must be")
    with pytest.raises(ExportUnfaithful, match="can't be exported"):
        export(keras.Model(pixels, scores), tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_full_disk_is_no_fault_of_the_model(tmp_path, monkeypatch, code):
    """TensorFlow says it in a sentence of its own; both formats raise what every writer raises."""
    model = keras.Sequential([keras.Input((4, 4, 1), name="image"), keras.layers.Flatten()])

    def full(*_, **__):
        raise tf.errors.UnknownError(
            None, None, f"{{{{function_node __wrapped__SaveV2}}}} /x/part-0; {os.strerror(code)}"
        )

    with monkeypatch.context() as patch:
        patch.setattr("training.export._write_saved_model", full)
        with pytest.raises(OSError, match=rf"^\[Errno {code}\] {os.strerror(code)}$"):
            export(model, tmp_path / "saved_model")

    def onnx_full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", onnx_full)
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device$"):
        export(model, tmp_path / "onnx")
