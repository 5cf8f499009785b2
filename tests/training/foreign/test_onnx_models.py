"""ONNX models as others write them: read, wrapped, proved in a fresh process, published, and right on every picture.

What must come out is computed by the file itself and NumPy; nothing of the wrapping has a part in it.
"""

from pathlib import Path

import numpy as np
import onnx
import onnx_models
import onnxruntime
import pytest
from onnx import TensorProto

from bundle.preprocessing import decode
from training.errors import ChoiceContradicted, ExportUnfaithful, ModelUnreadable
from training.foreign import onnx_wrapping, pictures, reference
from training.foreign.deciding import decide
from training.foreign.publish import publish_foreign
from training.foreign.reading import read
from training.foreign.scaling import parse
from training.foreign.wishes import Wishes

LABELS = ("a", "b", "c")

pytestmark = pytest.mark.usefixtures("brief", "proved_here")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "m.onnx"


def published(file, repository=None, labels=LABELS, **said):
    wishes = Wishes(labels=labels, labels_file=Path("labels.txt"), **said)
    original = read(file)
    return publish_foreign(original, decide(original, wishes), repository or file.parent / "models", "m").bundle


def golden(bundle):
    """The golden pictures' pixels, and what the published file answers to them."""
    [spec] = bundle.manifest.preprocessing
    pixels = np.stack([decode(picture, spec) for picture in bundle.golden_images("image")])
    session = onnxruntime.InferenceSession(bundle.path / "model.onnx")
    return pixels, session.run(None, {"image": pixels})[0]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def nchw(pixels):
    return np.moveaxis(pixels.astype(np.float32) / 255, -1, 1)


@pytest.mark.parametrize(
    ("options", "said", "taken"),
    [
        ({"ending": "Softmax"}, {"preprocess": parse("unit")}, nchw),
        ({"ending": "Softmax", "layout": "nhwc", "scaled": True}, {}, lambda pixels: pixels.astype(np.float32)),
        ({"ending": "Softmax", "layout": "nhwc", "dtype": TensorProto.UINT8}, {}, lambda pixels: pixels),
        (
            {"ending": "Softmax", "layout": "nhw", "channels": 1},
            {"preprocess": parse("symmetric")},
            lambda pixels: pixels[..., 0] / np.float32(127.5) - 1,
        ),
        (
            {"ending": "Softmax"},
            {"preprocess": parse("imagenet-caffe")},
            lambda pixels: np.moveaxis(
                pixels[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32), -1, 1
            ),
        ),
        ({"ending": "Softmax", "opset": 11}, {"preprocess": parse("unit")}, nchw),
        ({"ending": "Softmax", "open_size": True}, {"preprocess": parse("unit"), "size": (8, 10)}, nchw),
        ({"ending": "Softmax", "names": ("image", "probabilities")}, {"preprocess": parse("unit")}, nchw),
        ({"ending": "Softmax", "names": ("x", "image"), "inner": "probabilities"}, {"preprocess": parse("unit")}, nchw),
        ({"ending": "Softmax", "batch": 1}, {"preprocess": parse("unit")}, nchw),
        ({"ending": "Softmax", "batch": 1, "reshape": [1, -1]}, {"preprocess": parse("unit")}, nchw),
        ({"ending": "Softmax", "batch": 1, "reshape": [1, 192]}, {"preprocess": parse("unit")}, nchw),
    ],
)
def test_the_published_file_gives_the_answers_of_the_original(file, options, said, taken):
    onnx_models.save(file, **options)
    bundle = published(file, **said)
    pixels, answers = golden(bundle)
    wanted = onnx_models.run(file, taken(pixels))
    assert wanted.std() > 0.05  # else a wrong graph could be right
    np.testing.assert_allclose(answers, wanted, atol=1e-5)
    np.testing.assert_allclose(bundle.golden_outputs()["probabilities"], wanted, atol=1e-5)
    assert [(variant.name, variant.format) for variant in bundle.manifest.variants] == [("onnx", "onnx")]
    assert onnx.load(bundle.path / "model.onnx").opset_import == onnx.load(file).opset_import


@pytest.mark.parametrize(
    ("activation", "added"), [("softmax", softmax), ("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("none", lambda x: x)]
)
def test_logits_get_what_the_user_says(file, activation, added):
    onnx_models.save(file)
    bundle = published(file, preprocess=parse("unit"), activation=activation)
    pixels, answers = golden(bundle)
    np.testing.assert_allclose(answers, added(onnx_models.run(file, nchw(pixels))), atol=1e-5)
    assert bundle.manifest.heads[0].activation == activation


def test_one_score_becomes_two(file):
    onnx_models.save(file, classes=1, ending="Sigmoid")
    bundle = published(file, labels=("no", "yes"), preprocess=parse("unit"))
    pixels, answers = golden(bundle)
    yes = onnx_models.run(file, nchw(pixels))
    np.testing.assert_allclose(answers, np.hstack([1 - yes, yes]), atol=1e-5)


def test_an_output_with_sides_of_one_is_flattened(file):
    model = onnx_models.make(ending="Softmax")
    shape = onnx.helper.make_tensor("sides", TensorProto.INT64, [4], [0, 3, 1, 1])
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["output", "sides"], ["long"]))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("long", TensorProto.FLOAT, ["N", 3, 1, 1]))
    onnx.save(model, file)
    bundle = published(file, preprocess=parse("unit"))
    pixels, answers = golden(bundle)
    np.testing.assert_allclose(answers, onnx_models.run(file, nchw(pixels)).reshape(-1, 3), atol=1e-5)


def test_weights_beside_the_file_are_taken_along(file):
    model = onnx_models.make(ending="Softmax")
    onnx.save_model(model, file, save_as_external_data=True, location="weights.bin", size_threshold=64)
    bundle = published(file, preprocess=parse("unit"))
    assert {"model.onnx", "model.onnx.data"} <= bundle.manifest.files.keys()
    file.with_name("weights.bin").rename(file.with_name("elsewhere.bin"))  # what is published needs it no more
    assert golden(bundle)[1].shape[1] == 3


def test_files_that_list_weights_among_the_inputs_are_read(file):
    model = onnx_models.make(ending="Softmax")
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(model, file)
    assert read(file).input.name == "input"


def test_only_the_chosen_output_is_published(file):
    model = onnx_models.make(ending="Softmax")
    model.graph.output.append(onnx.helper.make_tensor_value_info("hidden", TensorProto.FLOAT, None))
    onnx.save(model, file)
    bundle = published(file, preprocess=parse("unit"), output="output", head="kind")
    [value] = onnx.load(bundle.path / "model.onnx").graph.output
    assert value.name == "kind_probabilities"
    assert bundle.labels("kind") == LABELS


def test_the_same_file_gives_the_same_bytes(file):
    onnx_models.save(file, ending="Softmax")
    first, second = (published(file, preprocess=parse("unit")) for _ in range(2))
    assert second.version == 2
    different = {name for name, file in first.manifest.files.items() if second.manifest.files[name] != file}
    assert first.manifest.files.keys() == second.manifest.files.keys()
    assert different <= {"report/metrics.json", "report/index.html"}  # the speed, and when it was


def test_a_wrong_wrapping_is_noticed(file, monkeypatch):
    """What the proof is for: the graph forgets the scaling, the reference does not."""

    def forgetful(add, contract, pixels):
        value = add.add("Transpose", "image", perm=[0, 3, 1, 2])
        add.add("Cast", value, to=TensorProto.FLOAT, output=pixels)

    onnx_models.save(file, ending="Softmax")
    monkeypatch.setattr(onnx_wrapping, "_prepare", forgetful)
    with pytest.raises(ExportUnfaithful, match=r"differs from the original by more than 0\.0001: onnx at batch 1"):
        published(file, preprocess=parse("unit"))
    assert list((file.parent / "models").iterdir()) == []


@pytest.mark.parametrize("other", ["raw", "symmetric", "imagenet-torch", "imagenet-caffe"])
def test_another_preprocess_would_give_other_answers(file, other):
    """So the tests above could fail."""
    onnx_models.save(file, ending="Softmax")
    original, answers = read(file), []
    for name in ("unit", other):
        contract = decide(original, Wishes(labels=LABELS, labels_file=Path("labels.txt"), preprocess=parse(name)))
        files = pictures.generated(contract.preprocessing).values()
        pixels = np.stack([decode(picture, contract.preprocessing) for picture in files])
        answers.append(reference.expected(original, contract, pixels))
    assert np.abs(answers[0] - answers[1]).max() > 0.05


def test_a_batch_that_is_fixed_inside_is_refused(file):
    model = onnx_models.make(ending="Softmax", batch=1)
    last = model.graph.node[-1]
    last.output[0] = "open"
    model.graph.node.append(onnx.helper.make_node("Slice", ["open", "from", "to", "axis"], ["output"]))
    for name, number in {"from": 0, "to": 1, "axis": 0}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([number], np.int64), name))
    onnx.save(model, file)
    with pytest.raises(
        ExportUnfaithful, match=r"made for batches of exactly 1 .*; export it again with a dynamic batch"
    ):
        published(file, preprocess=parse("unit"), activation="none")
    assert list((file.parent / "models").iterdir()) == []


def test_answers_that_are_no_numbers_are_refused(file):
    model = onnx_models.make(ending="Softmax")
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), "bias"))
    onnx.save(model, file)
    with pytest.raises(
        ExportUnfaithful, match=r"answers 15 of 15 pictures with NaN or infinity, so nothing is published"
    ):
        published(file, preprocess=parse("unit"))


def test_a_model_that_does_not_look_is_published_with_a_doubt(file):
    model = onnx_models.make(ending="Softmax")
    for tensor in model.graph.initializer:
        if tensor.name == "kernel":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "kernel"))
    onnx.save(model, file)
    original = read(file)
    wishes = Wishes(labels=("a", "a", "b"), labels_file=Path("labels.txt"), preprocess=parse("unit"))
    notes = publish_foreign(original, decide(original, wishes), file.parent / "models", "m").notes
    assert "every golden picture gets nearly the same answer" in notes[0]
    assert "some labels stand in the file twice" in notes[1]


def test_a_scaling_inside_and_one_asked_for_contradict_each_other(file):
    onnx_models.save(file, ending="Softmax", scaled=True, layout="nhwc")
    with pytest.raises(ChoiceContradicted, match=r"its first steps \(Div\) turn pixels of 0\.\.255 into 0\.\.1"):
        published(file, preprocess=parse("unit"))


def test_files_that_are_no_such_model_are_refused(file):
    file.write_bytes(b"not a model")
    with pytest.raises(ModelUnreadable, match=r"m\.onnx: it can't be read as ONNX"):
        read(file)
    onnx_models.save(file, opset=6)
    with pytest.raises(ModelUnreadable, match="it is of opset 6, at least 7 is needed; convert it with"):
        read(file)
    model = onnx_models.make()
    model.graph.node[0].op_type = "Convolute"
    onnx.save(model, file)
    with pytest.raises(ModelUnreadable, match=r"ONNX Runtime can't open it: .*Convolute"):
        read(file)
    model = onnx_models.make()
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N"]))
    onnx.save(model, file)
    with pytest.raises(ModelUnreadable, match=r"the model has 2 inputs \(input, mask\); only one, of pictures"):
        read(file)
    onnx.save_model(onnx_models.make(), file, save_as_external_data=True, location="weights.bin", size_threshold=64)
    file.with_name("weights.bin").unlink()
    with pytest.raises(ModelUnreadable, match=r"can't be read as ONNX: .*weights\.bin"):
        read(file)


def test_made_pictures_differ_in_size_and_kind_and_are_always_the_same(file):
    onnx_models.save(file, ending="Softmax")
    bundle = published(file, preprocess=parse("unit"))
    [spec] = bundle.manifest.preprocessing
    assert pictures.generated(spec) == dict(
        zip(bundle.manifest.golden.images["image"], bundle.golden_images("image"), strict=True)
    )
    assert {Path(name).suffix for name in bundle.manifest.golden.images["image"]} == {".png", ".jpg"}
