"""What a person sees who prints a result: one line that says what matters, however much it holds."""

import pytest

from convoy import Classification, ClassScore, Head, ModelInfo, TensorSpec, Timing, VersionStatus

TIMING = Timing(0.001, 0.002, 0.003)
MAP = ((0.0, 1.0, 2.0), (3.0, 4.0, 5.0))
ROSE, TULIP = ClassScore("rose", 0, 0.97412345678), ClassScore("tulip", 1, 0.0213)


def test_an_answer_is_its_classes_and_who_gave_them():
    answer = Classification({"class": (ROSE, TULIP)}, "flowers", 3, TIMING)
    assert str(answer) == "rose 0.974, tulip 0.021 (flowers version 3)"
    assert repr(answer) == "Classification(rose 0.974, tulip 0.021 (flowers version 3))"


def test_several_heads_are_told_apart_and_the_unsure_ones_marked():
    heads = {"species": (ROSE,), "colour": (ClassScore("", 4, 0.25),)}
    answer = Classification(heads, "flowers", 3, TIMING, abstained=("colour",))
    assert str(answer) == "species: rose 0.974; colour: unsure: class 4 0.250 (flowers version 3)"


def test_a_class_has_the_size_of_its_map():
    assert repr(ROSE) == "ClassScore(label='rose', index=0, score=0.974123)"
    explained = ClassScore("rose", 0, 0.5, MAP)
    assert repr(explained) == "ClassScore(label='rose', index=0, score=0.5, activation_map=2x3)"


@pytest.mark.parametrize("count", [6, 21_843])
def test_of_many_classes_and_labels_some_are_shown(count):
    classes = tuple(ClassScore(f"class{number}", number, 1 / count, MAP * 100) for number in range(count))
    head = Head("class", "probabilities", "softmax", tuple(one.label for one in classes))
    answer = Classification({"class": classes}, "many", 1, TIMING)
    assert repr(head).endswith(f"'class4', {count - 5:,} more))")
    assert str(answer).endswith(f"{classes[4]}, {count - 5:,} more (many version 1)")
    assert max(len(repr(head)), len(repr(answer)), len(repr(classes[0]))) < 200


def test_a_model_is_its_versions_heads_and_runtime():
    tensors = tuple(TensorSpec(f"tensor{number}", "float32", (-1, 10)) for number in range(50))
    versions = (VersionStatus(2, "UNAVAILABLE", "digest differs", ()), VersionStatus(3, "READY", "", ("stable",)))
    model = ModelInfo(
        "flowers", 3, versions, tensors, tensors, (), (Head("class", "p", "softmax", ("a",)),), {}, "onnx"
    )
    assert repr(model) == (
        "ModelInfo(name='flowers', version=3, versions=(2 UNAVAILABLE, 3 READY), "
        "heads=[Head(name='class', activation='softmax', labels=('a'))], runtime='onnx')"
    )
