"""What is read off a file, what is asked and what is refused, decision by decision, without any model."""

from pathlib import Path

import pytest

from bundle.manifest import TensorSpec
from training.errors import ChoiceContradicted, ChoiceNeeded, ConfigInvalid
from training.foreign.deciding import decide
from training.foreign.opening import Opening
from training.foreign.original import Original
from training.foreign.scaling import parse
from training.foreign.wishes import Wishes, parse_size, read_labels

LABELS = ("a", "b", "c")
UNIT = Opening(("Mul",), 0.0, 1.0)


def original(
    shape=(None, 8, 10, 3), *, dtype="float32", outputs=None, last="Softmax", opening=UNIT, kind="Keras model"
):
    outputs = {"scores": (None, 3)} if outputs is None else outputs
    return Original(
        path=Path("m.keras"),
        kind=kind,
        input=TensorSpec(name="input", dtype=dtype, shape=shape),
        outputs=tuple(TensorSpec(name=name, dtype="float32", shape=sizes) for name, sizes in outputs.items()),
        predict=lambda _: {},
        write=lambda *_: None,
        opening=opening,
        last_steps=dict.fromkeys(outputs, last),
    )


def wishes(**said):
    return Wishes(**({"labels": LABELS, "labels_file": Path("labels.txt")} | said))


def test_a_file_that_says_all_needs_no_word():
    contract = decide(original(), wishes())
    assert (contract.preprocessing.height, contract.preprocessing.width, contract.preprocessing.channels) == (8, 10, 3)
    assert (contract.layout, contract.scaling.name, contract.dtype) == ("NHWC", "raw", "float32")
    answer = contract.answer
    assert (answer.activation, answer.added, answer.flatten, answer.complement) == ("softmax", None, False, False)
    assert contract.reasons == (
        "pixels go in as 0..255, because its first steps (Mul) turn pixels of 0..255 into 0..1",
        "output 'scores' ends with Softmax, so it is served as it is",
    )


@pytest.mark.parametrize(
    ("shape", "layout", "channels"),
    [
        ((None, 3, 8, 10), "NCHW", 3),
        ((None, 1, 8, 10), "NCHW", 1),
        ((None, 8, 10, 1), "NHWC", 1),
        ((None, 8, 10), "NHW", 1),
        ((1, 3, 8, 10), "NCHW", 3),
    ],
)
def test_the_layout_is_read_off_the_channels(shape, layout, channels):
    contract = decide(original(shape), wishes())
    assert (contract.layout, contract.preprocessing.channels) == (layout, channels)
    assert (contract.preprocessing.height, contract.preprocessing.width) == (8, 10)


def test_what_the_file_leaves_open_the_user_may_say():
    said = wishes(size=(8, 10), channels=1, layout="nchw", resize="crop", crop_fraction=0.875, kernel="bicubic")
    contract = decide(original((None, None, None, None)), said)
    spec = contract.preprocessing
    assert (contract.layout, spec.height, spec.width, spec.channels) == ("NCHW", 8, 10, 1)
    assert (spec.resize, spec.crop_fraction, spec.kernel) == ("crop", 0.875, "bicubic")


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_whole_numbers_are_pixels(dtype):
    assert decide(original(dtype=dtype, opening=Opening()), wishes()).scaling.name == "raw"


@pytest.mark.parametrize(
    ("black", "white", "raw"),
    [(0, 1, True), (-1, 1, True), (-2.12, 2.64, True), (-124, 151, True), (-1, 509, False), (-2.12, 1111, False)],
)
def test_a_scaling_inside_is_believed_where_it_makes_sense_of_0_to_255(black, white, raw):
    assert Opening(("Mul", "Sub"), black, white).takes_raw == raw


def test_no_arithmetic_is_no_scaling():
    assert not Opening((), 0.0, 1.0).takes_raw


@pytest.mark.parametrize(
    ("changes", "said", "question"),
    [
        (
            {"opening": Opening()},
            {},
            r"how pixels were scaled .*\(nothing in its graph does it\): give --preprocess raw",
        ),
        (
            {"opening": Opening(("Mul",), -1, 509)},
            {},
            r"into -1\.\.509, which no model is trained on\): give --preproc",
        ),
        ({"shape": (None, None, None, 3)}, {}, "what size its pictures have: give --size HEIGHTxWIDTH"),
        ({"shape": (None, 8, 10, None)}, {}, "grey or in colour: give --channels 1 or --channels 3"),
        (
            {"shape": (None, 3, 8, 3)},
            {},
            r"where the channels of its input input float32 \[any, 3, 8, 3\] are: give --lay",
        ),
        ({"shape": (None,) * 4, "kind": "ONNX model"}, {"size": (8, 8)}, "are: give --layout nhwc or --layout nchw"),
        (
            {"last": "MatMul"},
            {},
            r"numbers of its output 'scores' are \(it ends with MatMul\): give --activation softmax",
        ),
        ({"last": ""}, {}, r"its last step can't be seen\): give --activation"),
        ({"outputs": {"x": (None, 3), "y": (None, 5)}}, {}, r"which of its outputs \(x, y\) .*: give --output NAME"),
    ],
)
def test_what_nobody_says_is_asked_with_the_choices(changes, said, question):
    with pytest.raises(ChoiceNeeded, match=rf"^m\.keras does not say .*{question}"):
        decide(original(**changes), wishes(**said))


def test_everything_is_asked_at_once():
    with pytest.raises(ChoiceNeeded) as asked:
        decide(original((None, None, None, None), opening=Opening(), last="MatMul"), wishes())
    assert all(option in str(asked.value) for option in ("--size", "--channels", "--preprocess", "--activation"))
    assert str(asked.value).count("; nor ") == 3


@pytest.mark.parametrize(
    ("changes", "said", "refusal"),
    [
        ({"shape": (None, 784)}, {}, "is no batch of pictures, as"),
        ({"shape": (None, 8, 10, 4)}, {}, "has neither 1 nor 3 channels, as pictures have"),
        ({"dtype": "int8"}, {}, "its input is int8, but pixels can be given as uint8"),
        ({}, {"layout": "nchw"}, "is not NCHW; leave out --layout or correct it"),
        ({}, {"size": (9, 10)}, "takes pictures of 8x10, not 9x10; leave out --size"),
        ({"shape": (None, None, 10, 3)}, {"size": (8, 9)}, "takes pictures of anyx10, not 8x9"),
        ({}, {"channels": 1}, "takes pictures of 3 channels, not 1; leave out --channels"),
        (
            {},
            {"preprocess": parse("unit")},
            r"into 0\.\.1, so pixels go in as they are, and unit would scale them twice",
        ),
        (
            {"dtype": "uint8"},
            {"preprocess": parse("symmetric")},
            "its input is uint8, so pixels .* symmetric would scale",
        ),
        ({"shape": (None, 8, 10)}, {"preprocess": parse("imagenet-caffe")}, "can't be used on pictures of 1 channels"),
        ({}, {"activation": "sigmoid"}, "ends with Softmax, which contradicts sigmoid; leave out --activation"),
        ({}, {"activation": "none"}, "ends with Softmax, which contradicts none"),
        ({}, {"output": "other"}, "has no output 'other', but scores; leave out --output"),
        ({"outputs": {"scores": (None, 5, 5, 3)}}, {}, r"\[any, 5, 5, 3\] is not \[n, classes\]"),
        (
            {"outputs": {"scores": (None, 4)}},
            {},
            "labels.txt has 3 labels, but output 'scores' of m.keras has 4 classes",
        ),
        ({"outputs": {"scores": (None, 4)}, "last": "MatMul"}, {}, "has 3 labels, but output .* has 4 classes"),
        ({"outputs": {"scores": (None, 1)}}, {}, "one number, of which a softmax is always 1; it needs a sigmoid"),
        (
            {"outputs": {"scores": (None, 1)}, "last": "MatMul"},
            {"labels": ("no", "yes"), "activation": "none"},
            "has 2 labels, but output .* has 1 classes",
        ),
    ],
)
def test_contradictions_are_refused_with_both_sides(changes, said, refusal):
    with pytest.raises(ChoiceContradicted, match=refusal):
        decide(original(**changes), wishes(**said))


def test_figures_of_ones_own_win_over_what_the_graph_seems_to_say():
    assert decide(original(), wishes(preprocess=parse("mean=0,std=255"))).scaling.std == (255.0,)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_an_activation_is_added_where_the_user_says_so(activation):
    answer = decide(original(last="MatMul"), wishes(activation=activation)).answer
    assert (answer.activation, answer.added) == (activation, activation)


def test_an_activation_that_is_there_is_not_added_again():
    assert decide(original(), wishes(activation="softmax")).answer.added is None


def test_numbers_can_be_served_as_they_are():
    answer = decide(original(last="MatMul"), wishes(activation="none")).answer
    assert (answer.activation, answer.added) == ("none", None)


@pytest.mark.parametrize(("last", "said", "added"), [("Sigmoid", None, None), ("MatMul", "sigmoid", "sigmoid")])
def test_one_score_and_two_labels_are_yes_or_no(last, said, added):
    model = original(outputs={"scores": (None, 1)}, last=last)
    contract = decide(model, wishes(labels=("no", "yes"), activation=said))
    answer = contract.answer
    assert (answer.classes, answer.complement, answer.added, answer.activation) == (2, True, added, "softmax")
    assert "its one score p becomes two: 1 - p for 'no', p for 'yes'" in contract.reasons


def test_yes_or_no_is_asked_about_before_its_labels_are_counted():
    model = original(outputs={"scores": (None, 1)}, last="MatMul")
    with pytest.raises(ChoiceNeeded, match="--activation"):
        decide(model, wishes(labels=("no", "yes")))


def test_an_output_with_sides_of_one_is_flattened():
    assert decide(original(outputs={"scores": (None, 3, 1, 1)}), wishes()).answer.flatten


def test_one_of_several_outputs_can_be_chosen_and_the_head_named():
    contract = decide(original(outputs={"x": (None, 5), "y": (None, 3)}), wishes(output="y", head="kind"))
    assert (contract.answer.output, contract.head, contract.output) == ("y", "kind", "kind_probabilities")


def test_labels_are_lines(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffrosé\r\n oak tree \nash".encode())
    assert read_labels(file) == ("rosé", "oak tree", "ash")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "is empty; write one label a line"), (b"a\n\nb\n", "line 2 is empty"), (b"\xff\xfe", "is not UTF-8 text")],
)
def test_a_label_file_that_cant_be_meant_is_said(tmp_path, content, sentence):
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigInvalid, match=f"labels.txt.*{sentence}"):
        read_labels(file)


def test_a_label_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigInvalid, match="No such file or directory; check the path"):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize("text", ["224", "224x", "0x5", "8 x 8", "99999x4"])
def test_a_size_is_height_x_width(text):
    assert parse_size("8x10") == (8, 10)
    with pytest.raises(ConfigInvalid, match="give HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize(("said", "sentence"), [({"head": "A b"}, "--head A b"), ({"channels": 2}, "--channels 2")])
def test_wishes_that_nothing_can_fulfil_are_said_at_once(said, sentence):
    with pytest.raises(ConfigInvalid, match=f"{sentence} is not possible"):
        wishes(**said)
