"""Activation maps from Keras to the published version: of a model whose maps are known, and of one that was trained."""

import json
from contextlib import nullcontext

import keras
import numpy as np
import onnx
import pytest
import shapes

import convoy
from bundle import store
from training import architectures, explain, parity, replay
from training.architectures import Architecture
from training.architectures.heads import outputs
from training.asking import predict
from training.errors import ConfigInvalid, ExportUnfaithful
from training.explain import explaining
from training.export import export
from training.publish import train_and_publish
from training.tasks import HeadSpec

layers = keras.layers
SIDE, CELL = 16, 4
HEADS = (HeadSpec("class", ("dark", "bright")), HeadSpec("size", ("small", "middling", "large")))
WEIGHTS = {"class": np.array([[-6, 6]], np.float32), "size": np.array([[1, 2, 3]], np.float32)}


def known(head_layers=lambda head, pooled: layers.Dense(WEIGHTS[head].shape[1], activation="softmax")(pooled)):
    """A model whose one feature is the brightness of each cell of 4x4 pixels, with weights set by hand."""
    pixels = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="image")
    cells = layers.AveragePooling2D(CELL)(layers.Rescaling(1 / 255)(pixels))
    pooled = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(cells))
    model = keras.Model({"image": pixels}, {head.output: head_layers(head.name, pooled) for head in HEADS})
    for dense in (layer for layer in model.layers if isinstance(layer, layers.Dense)):
        for kernel in WEIGHTS.values():
            if kernel.shape == dense.kernel.shape:
                dense.set_weights([kernel, np.full(dense.units, 0.25, np.float32)])
    return model


def pictures(count=5):
    """Dark pictures, each with one bright cell of its own."""
    pixels = np.full((count, SIDE, SIDE, 1), 10, np.uint8)
    for number in range(count):
        row, column = divmod(3 * number, SIDE // CELL)
        pixels[number, row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 250
    return pixels


def numpy_maps(pixels, head):
    cells = pixels.reshape(-1, SIDE // CELL, CELL, SIDE // CELL, CELL).mean(axis=(2, 4)) / 255
    return cells[..., np.newaxis] @ WEIGHTS[head].astype(np.float64)


@pytest.mark.parametrize("head", [head.name for head in HEADS])
def test_the_map_is_the_features_times_the_weights_and_lights_up_where_it_is_bright(head):
    pixels = pictures()
    found = predict(explaining(known(), HEADS), {"image": pixels})[f"{head}_activation_map"]
    assert np.allclose(found, numpy_maps(pixels, head), atol=1e-5)
    for number in range(len(pixels)):
        assert divmod(int(found[number, :, :, -1].argmax()), SIDE // CELL) == divmod(3 * number, SIDE // CELL)


def test_its_mean_and_the_bias_are_the_logits():
    pixels, model = pictures(), known()
    found = predict(explaining(model, HEADS), {"image": pixels})["class_activation_map"]
    logits = found.mean(axis=(1, 2)) + 0.25
    powers = np.exp(logits)
    assert np.allclose(predict(model, {"image": pixels})["probabilities"], powers / powers.sum(axis=1, keepdims=True))


def test_what_only_rescales_the_logits_may_stand_above_them():
    model = known(lambda head, pooled: layers.Softmax()(layers.Dense(WEIGHTS[head].shape[1])(pooled)))
    found = predict(explaining(model, HEADS), {"image": pictures()})["size_activation_map"]
    assert np.allclose(found, numpy_maps(pictures(), "size"), atol=1e-5)


@pytest.mark.parametrize(
    ("head_layers", "found"),
    [
        (lambda _, pooled: layers.Dense(2)(layers.Dense(4)(pooled)), "its Dense layer stands on Dense 'dense"),
        (lambda _, pooled: layers.Dense(2)(layers.ReLU()(pooled)), "its Dense layer stands on ReLU 're_lu"),
        (lambda _, pooled: layers.Reshape((1,))(pooled), "its output comes from Reshape 'reshape"),
        (lambda _, pooled: layers.add([layers.Dense(2)(pooled)] * 2), "its output comes from Add 'add"),
    ],
    ids=["two dense", "rectified", "no dense", "sum"],
)
def test_a_head_without_maps_is_refused_with_the_layer_that_is_in_the_way(head_layers, found):
    with pytest.raises(ConfigInvalid, match=f"^--explain: head 'class' has no class-activation map, because {found}"):
        explaining(known(head_layers), HEADS)


def test_the_shipped_flat_network_says_why_it_has_none():
    model = architectures.build("sequential", (SIDE, SIDE, 1), {"class": 2}, 0.0)
    with pytest.raises(ConfigInvalid, match=r"choose an architecture that ends so, or train without --explain"):
        explaining(model, HEADS[:1])


def test_maps_of_a_backbone_that_is_a_model_of_its_own():
    backbone = keras.Sequential(
        [keras.Input((SIDE, SIDE, 1)), layers.AveragePooling2D(CELL), layers.GlobalAveragePooling2D()]
    )
    pixels = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="image")
    pooled = backbone(layers.Rescaling(1 / 255)(pixels))
    model = keras.Model({"image": pixels}, outputs(pooled, {head.name: len(head.labels) for head in HEADS}))
    model.get_layer("size_probabilities").set_weights([WEIGHTS["size"], np.zeros(3)])
    found = predict(explaining(model, HEADS), {"image": pictures()})["size_activation_map"]
    assert np.allclose(found, numpy_maps(pictures(), "size"), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "heads", "options"),
    [
        ("accurate", HEADS[:1], {}),
        ("residual", HEADS[:1], {}),
        ("separable", HEADS[:1], {}),
        ("multi_output", HEADS, {}),
        ("transfer", HEADS[:1], {"backbone": "MobileNet", "weights": "none"}),
    ],
)
def test_the_shipped_architectures_that_pool_have_maps(name, heads, options):
    classes = {head.name: len(head.labels) for head in heads}
    model = architectures.build(name, (32, 32, 3), classes, 0.1, **options)
    maps = explaining(model, heads).output
    assert {head: maps[f"{head}_activation_map"].shape[-1] for head in classes} == classes


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("exported"), known()
    return model, folder, export(model, folder, explaining=explaining(model, HEADS))


def test_the_maps_are_a_file_and_a_signature_of_their_own(exported):
    _, folder, signature = exported
    assert [(spec.name, spec.shape) for spec in signature.explanations] == [
        ("class_activation_map", (None, 4, 4, 2)),
        ("size_activation_map", (None, 4, 4, 3)),
    ]
    assert {spec.name for spec in signature.outputs} == {"probabilities", "size_probabilities"}
    names = {
        file: {output.name for output in onnx.load(folder / file).graph.output}
        for file in ("model.onnx", "explain.onnx")
    }
    assert names == {
        "model.onnx": {"probabilities", "size_probabilities"},
        "explain.onnx": {"class_activation_map", "size_activation_map"},
    }


def test_asking_for_maps_changes_nothing_in_the_file_that_answers(exported, tmp_path):
    model, folder, _ = exported
    export(model, tmp_path)
    assert not (tmp_path / "explain.onnx").exists()
    nodes = [[node.op_type for node in onnx.load(each / "model.onnx").graph.node] for each in (tmp_path, folder)]
    assert nodes[0] == nodes[1]


@pytest.mark.parametrize("name", replay.OPENERS)
def test_every_format_gives_the_maps(exported, name):
    run, pixels = replay.open_explanations(name, exported[1]), pictures()
    for size in (1, 2, 5):
        found = replay.in_batches(run, {"image": pixels}, size)
        for head in HEADS:
            assert np.allclose(found[f"{head.name}_activation_map"], numpy_maps(pixels, head.name), atol=1e-5)


def test_maps_are_proved_at_their_own_scale_and_those_that_lie_are_refused(exported):
    model, folder, _ = exported
    maps = explaining(model, HEADS)
    asked = {"image": pictures()}
    results = parity.prove(model, folder, asked, ("onnx",), explaining=maps)
    names = {"probabilities", "size_probabilities", "class_activation_map", "size_activation_map"}
    assert {one.output for one in results} == names
    other = maps.get_layer("size_activation_map")
    other.set_weights([other.get_weights()[0] * 1.001])
    with pytest.raises(ExportUnfaithful, match=r"onnx at batch 1, size_activation_map: max difference 0\.001"):
        parity.prove(model, folder, asked, ("onnx",), explaining=maps)


def test_a_model_that_onnx_cant_hold_explains_itself_as_a_saved_model(tmp_path):
    pixels = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="image")
    features = layers.Resizing(8, 8, antialias=True)(layers.Rescaling(1 / 255)(pixels))
    pooled = layers.GlobalAveragePooling2D()(features)
    model = keras.Model({"image": pixels}, outputs(pooled, {head.name: len(head.labels) for head in HEADS}))
    said, maps = [], explaining(model, HEADS)
    export(model, tmp_path, said.append, explaining=maps)
    assert ("only a SavedModel" in said[0], (tmp_path / "explain.onnx").exists()) == (True, False)
    found = replay.open_explanations("saved_model", tmp_path)({"image": pictures()})
    for name, expected in predict(maps, {"image": pictures()}).items():
        assert np.allclose(found[name], expected, atol=1e-5)


def pooled(image_shape, heads, dropout):
    pixels = keras.Input(image_shape, dtype="uint8", name="image")
    features = layers.Conv2D(12, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(pixels))
    features = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu")(features)
    return keras.Model({"image": pixels}, outputs(layers.GlobalAveragePooling2D()(features), heads))


@pytest.mark.usefixtures("brief", "proved_here")
def test_a_trained_model_is_published_with_maps_that_every_variant_proves(tmp_path, dataset, monkeypatch, capsys):
    monkeypatch.setitem(architectures.ARCHITECTURES, "pooled", Architecture(pooled))
    bundle = train_and_publish(shapes.config(architecture="pooled", explain=True), dataset, tmp_path)
    store.verify_files(bundle)
    assert [head.activation_map for head in bundle.manifest.heads] == ["class_activation_map"]
    assert [variant.explain for variant in bundle.manifest.variants] == ["explain.onnx", "explain", "explain.onnx"]
    proved = json.loads((bundle.path / "report" / "metrics.json").read_text())["parity"]
    assert {(one["format"], one["output"]) for one in proved} == {
        (name, output) for name in replay.OPENERS for output in ("probabilities", "class_activation_map")
    }
    assert bundle.golden_outputs()["class_activation_map"].shape[1:] == (6, 6, 3)
    with pytest.raises(SystemExit) as exited:
        convoy.main(["verify", str(bundle.path)])
    assert exited.value.code == 0, capsys.readouterr()


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_the_table_says_which_architectures_have_maps(name, dataset):
    task = architectures.task_of(name, dataset)
    options = {"weights": "none"} if name == "transfer" else {}
    model = architectures.build(name, dataset.image_shape, task.classes, 0.0, **options)
    with nullcontext() if architectures.ARCHITECTURES[name].maps else pytest.raises(ConfigInvalid):
        explain.check(model, task.heads)


def test_an_architecture_without_maps_is_refused_before_training(tmp_path, dataset, capsys):
    with pytest.raises(ConfigInvalid, match="--explain: head 'class'"):
        train_and_publish(shapes.config(explain=True), dataset, tmp_path)
    assert ("Epoch" in capsys.readouterr().out, list(tmp_path.iterdir())) == (False, [])
