"""Every refusal names the input, what came and what the model takes."""

import re

import numpy as np
import pytest

from service.errors import RequestInvalid
from service.inference.checks import by_name, check_input, checked_count, checked_top_k
from service.models.version import Servable

PHOTO = np.zeros((3, 2, 2, 1), np.uint8)
AGE = np.zeros((3, 1), np.float32)


@pytest.fixture
def tiny_servable(tiny) -> Servable:
    return Servable(tiny, {"class": tiny.labels("class")}, None, None, runs_on="nothing", max_pending=1)  # type: ignore[arg-type]


def refused(sentence: str):
    return pytest.raises(RequestInvalid, match=f"^{re.escape(sentence)}$")


def test_the_only_input_needs_no_name(tiny_servable):
    assert by_name({"": [b"picture"]}, tiny_servable) == {"image": [b"picture"]}
    assert by_name({"image": [b"picture"]}, tiny_servable) == {"image": [b"picture"]}


def test_one_input_twice_is_refused_rather_than_half_ignored(tiny_servable):
    with refused("input 'image' is given twice, once without its name; give it once"):
        by_name({"": [b"one"], "image": [b"other"]}, tiny_servable)


def test_an_unknown_input_is_told_with_the_known_ones(tiny_servable):
    with refused("the call brings inputs ['picture'], model 'tiny' takes ['image']"):
        by_name({"picture": [b""]}, tiny_servable)


async def test_several_inputs_need_their_names_and_all_of_them(photo_and_age):
    assert by_name({"age": AGE, "photo": PHOTO}, photo_and_age).keys() == {"age", "photo"}
    with refused("the call brings inputs ['photo'], model 'people' takes ['age', 'photo']; give each by its name"):
        by_name({"photo": PHOTO}, photo_and_age)
    with refused("the call brings inputs ['', 'age'], model 'people' takes ['age', 'photo']; give each by its name"):
        by_name({"": PHOTO, "age": AGE}, photo_and_age)


async def test_pictures_for_an_input_without_preprocessing_are_refused(photo_and_age):
    age = photo_and_age.bundle.manifest.signature.inputs[1]
    check_input(age, AGE, photo_and_age)
    with refused("input 'age' of model 'people' takes a float32 tensor, not pictures"):
        check_input(age, [b"picture"], photo_and_age)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.zeros((1, 8, 8, 3), np.float32), "float32 [1, 8, 8, 3]"),
        (np.zeros((1, 8, 8), np.uint8), "uint8 [1, 8, 8]"),
        (np.zeros((1, 3, 8, 8), np.uint8), "uint8 [1, 3, 8, 8]"),
        (np.zeros((8, 8, 3), np.uint8), "uint8 [8, 8, 3]"),
        (np.zeros((1, 8, 8, 3, 1), np.uint8), "uint8 [1, 8, 8, 3, 1]"),
    ],
)
def test_a_tensor_unlike_the_signature_is_refused(tiny_servable, values, what):
    [spec] = tiny_servable.bundle.manifest.signature.inputs
    with refused(f"input 'image' is {what}, model 'tiny' takes uint8 [-1, 8, 8, 3] (-1: any size)"):
        check_input(spec, values, tiny_servable)


def test_top_k_is_5_or_all_classes_unless_asked_for(tiny_servable, tiny):
    assert checked_top_k(None, tiny_servable) == 3
    many = Servable(tiny, {"class": tuple("abcdefgh")}, None, None, runs_on="", max_pending=1)  # type: ignore[arg-type]
    assert checked_top_k(None, many) == 5
    assert [checked_top_k(k, many) for k in (1, 8)] == [1, 8]


@pytest.mark.parametrize("k", [0, -1, 4, 2**31 - 1])
def test_top_k_outside_the_classes_is_refused(tiny_servable, k):
    with refused(f"top_k is {k}, model 'tiny' has 3 classes: ask for 1 to 3"):
        checked_top_k(k, tiny_servable)


def test_a_model_without_a_head_can_not_classify(tiny):
    headless = Servable(tiny, {}, None, None, runs_on="nothing", max_pending=1)  # type: ignore[arg-type]
    with refused("model 'tiny' declares no head, so it has no classes to answer with"):
        checked_top_k(None, headless)


@pytest.mark.parametrize("count", [0, 11])
def test_a_call_takes_a_limited_number_of_pictures(count):
    assert checked_count({"image": [b""] * 10}, 10) == 10
    with refused(f"the call brings {count} pictures, a call takes 1 to 10; split it into several calls"):
        checked_count({"image": [b""] * count}, 10)


def test_inputs_must_agree_in_number():
    with refused("the inputs differ in number of pictures: {'photo': 3, 'age': 1}"):
        checked_count({"photo": PHOTO, "age": AGE[:1]}, 10)
