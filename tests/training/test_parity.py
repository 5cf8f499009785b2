"""A file that lies must not get past the proof. The processes are real; the lies are made by changing the ONNX file."""

import keras
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from training import architectures, parity, replay
from training.asking import predict
from training.errors import ExportUnfaithful
from training.export import export

SHAPE = (12, 12, 1)


@pytest.fixture(scope="module")
def model():
    return architectures.build("sequential", SHAPE, {"class": 3}, dropout=0.0)


@pytest.fixture
def folder(tmp_path, model):
    export(model, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def inputs():
    return {"image": np.random.default_rng(0).integers(0, 256, (10, *SHAPE), np.uint8)}


def change(folder, edit):
    file = folder / "model.onnx"
    graph = onnx.load(file)
    edit(graph.graph)
    onnx.save(graph, file)


def set_weights(graph, value_of):
    """Replaces the values of the largest weight."""
    weight = max(graph.initializer, key=lambda tensor: numpy_helper.to_array(tensor).size)
    weight.CopyFrom(numpy_helper.from_array(value_of(numpy_helper.to_array(weight)), weight.name))


def test_a_faithful_file_gives_a_figure_for_each_batch_size(model, folder, inputs):
    results = parity.prove(model, folder, inputs, formats=("onnx",))
    assert [(result.format, result.output, result.batch_size, result.examples) for result in results] == [
        ("onnx", "probabilities", size, 192) for size in (1, 3, 64)
    ]
    assert all(0 <= result.mean_difference <= result.max_difference < 1e-5 for result in results)
    assert {result.agreement for result in results} == {1.0}


@pytest.mark.parametrize(
    ("value_of", "figure"),
    [
        (lambda weight: weight + np.float32(0.01), "max difference 0."),
        (lambda weight: weight * np.nan, "difference nan"),
    ],
)
def test_wrong_answers_are_refused_with_the_figures(model, folder, inputs, value_of, figure):
    change(folder, lambda graph: set_weights(graph, lambda weight: value_of(weight).astype(np.float32)))
    with pytest.raises(
        ExportUnfaithful, match=f"more than 0.0001: onnx at batch 1, probabilities: .*{figure}"
    ) as caught:
        parity.prove(model, folder, inputs, formats=("onnx",))
    assert all(f"batch {size}" in str(caught.value) for size in parity.BATCH_SIZES)


def test_a_file_that_takes_one_batch_size_only_is_refused(model, folder, inputs):
    def fix_batch(graph):
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    change(folder, fix_batch)
    with pytest.raises(ExportUnfaithful, match=r"exported onnx does not run.*Expected: 1"):
        parity.prove(model, folder, inputs, formats=("onnx",))


def test_a_file_that_is_no_model_is_refused(model, folder, inputs):
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportUnfaithful, match="exported onnx does not run"):
        parity.prove(model, folder, inputs, formats=("onnx",))


def test_a_process_that_does_not_answer_is_ended(model, folder, inputs, monkeypatch):
    monkeypatch.setattr(parity, "_LEAST_SECONDS", 0)
    with pytest.raises(ExportUnfaithful, match="did not answer within 0 s"):
        parity.compare(folder, inputs, predict(model, inputs), ("onnx",))


def test_a_model_that_is_slow_gets_more_time(model, folder, inputs, monkeypatch):
    monkeypatch.setattr(parity, "_LEAST_SECONDS", 0)
    monkeypatch.setattr(parity, "_TIMES_ORIGINAL", 1e5)  # of milliseconds
    assert parity.prove(model, folder, inputs, formats=("onnx",))


def test_an_output_of_one_score_agrees_where_it_is_on_the_same_side_of_one_half(tmp_path, inputs):
    image = keras.Input(SHAPE, dtype="uint8", name="image")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    single = keras.Model(image, {"score": keras.layers.Dense(1, activation="sigmoid")(flat)})
    export(single, tmp_path)
    answers = predict(single, inputs)["score"]
    answers[:3] = np.where(answers[:3] >= 0.5, 0.4, 0.6)
    results = parity.compare(tmp_path, inputs, {"score": answers}, ("onnx",), tolerance=1.0)
    assert {result.agreement for result in results} == {0.7}


def test_inputs_may_have_any_name(tmp_path):
    names = (replay.EXPLAIN, replay.BATCH_SIZES, "file")
    images = [keras.Input(SHAPE, dtype="uint8", name=name) for name in names]
    flat = [keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image)) for image in images]
    named = keras.Model(images, {"scores": keras.layers.Dense(2)(keras.layers.Concatenate()(flat))})
    export(named, tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 10, *SHAPE), np.uint8)
    assert parity.prove(named, tmp_path, dict(zip(names, pixels, strict=True)), ("onnx",))
