"""The int8 file: what it reads and gives, what stays exact in it, and the optimiser that must not touch it."""

import keras
import numpy as np
import onnx
import pytest

from training import replay
from training.asking import predict
from training.errors import VariantRefused
from training.export import export
from training.quantize import quantize

SHAPE = (12, 12, 1)
layers = keras.layers


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    keras.utils.set_random_seed(0)


def images(count=64, shape=SHAPE):
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


def convolutions(inputs=("image",)):
    """A model of named inputs whose features meet before one head."""
    tensors = {name: keras.Input(SHAPE, dtype="uint8", name=name) for name in inputs}
    shared = keras.Sequential([layers.Rescaling(1 / 255), layers.Conv2D(8, 3), layers.BatchNormalization()])
    features = [layers.ReLU()(shared(tensor)) for tensor in tensors.values()]
    joined = layers.Concatenate()(features) if len(features) > 1 else features[0]
    pooled = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Conv2D(16, 3)(joined)))
    return keras.Model(tensors, {"probabilities": layers.Dense(3, activation="softmax")(pooled)})


def differences(model, folder, file, inputs):
    """How far the file is from Keras, and how far Keras's answers are from one another."""
    wanted = predict(model, inputs)["probabilities"]
    found = replay.in_batches(replay.open_onnx(file), inputs, 16)["probabilities"]
    return np.abs(found - wanted).max(), np.ptp(wanted, axis=0).max()


def test_the_signature_is_that_of_the_exact_file(tmp_path):
    export(convolutions(), tmp_path)
    file = quantize(tmp_path, {"image": images()})
    assert file == tmp_path / "model.int8.onnx"
    exact, found = onnx.load(tmp_path / "model.onnx"), onnx.load(file)
    onnx.checker.check_model(found)
    assert list(found.graph.input) == list(exact.graph.input)
    assert list(found.graph.output) == list(exact.graph.output)
    assert {opset.domain for opset in found.opset_import} <= {""}
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["model.int8.onnx", "model.onnx"]


@pytest.mark.parametrize("inputs", [("image",), ("left", "right")])
def test_its_answers_are_near_those_of_keras(tmp_path, inputs):
    model = convolutions(inputs)
    export(model, tmp_path)
    rows = {name: images(64 + number)[:64] for number, name in enumerate(inputs)}
    file = quantize(tmp_path, rows)
    difference, spread = differences(model, tmp_path, file, rows)
    assert 0 < difference < 0.1 * spread


def test_weights_are_int8_and_the_last_layer_is_exact(tmp_path):
    export(convolutions(), tmp_path)
    graph = onnx.load(quantize(tmp_path, {"image": images()})).graph
    weights = {array.name: array for array in graph.initializer}
    stored = [
        weights[node.input[0]] for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights
    ]
    kernels = [array for array in stored if len(array.dims) == 4]
    assert [array.data_type for array in kernels] == [onnx.TensorProto.INT8] * 2
    producers = {output: node.op_type for node in graph.node for output in node.output}
    [last] = [node for node in graph.node if node.op_type in {"Gemm", "MatMul"}]
    assert last.input[1] in weights
    assert [producers[output.name] for output in graph.output] == ["Softmax"]


def test_padding_before_pooling_is_right_for_negative_values(tmp_path):
    """ONNX Runtime's Pad_Fusion up to 1.31 is not, and the quantiser's own preparation would leave it in the file."""
    image = keras.Input(SHAPE, dtype="uint8", name="image")
    scaled = layers.Rescaling(1 / 255, offset=-2)(image)
    pooled = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(layers.Conv2D(4, 1, use_bias=False)(scaled)))
    model = keras.Model(image, {"probabilities": layers.Dense(3, activation="softmax")(layers.Flatten()(pooled))})
    export(model, tmp_path)
    rows = {"image": images()}
    difference, spread = differences(model, tmp_path, quantize(tmp_path, rows), rows)
    assert difference < 0.1 * spread


def test_a_graph_that_cant_be_quantised_leaves_no_file(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(VariantRefused, match="the graph can't be quantised to int8: "):
        quantize(tmp_path, {"image": images()})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
