"""The photos that MobileNetV2 is trained on, and the comparison of two variants' answers."""

import asyncio
import io
import os

import numpy as np
import pytest
from bundles import INPUT, LABELS, OUTPUT
from PIL import Image
from servers import LOCALHOST

from benchmarks.answers import agreement, best_classes
from benchmarks.photos import Clothing
from benchmarks.serving import Target


@pytest.fixture(scope="module")
def clothing() -> Clothing:
    random = np.random.default_rng(3)
    return Clothing(random.integers(0, 256, (3, 28, 28, 1), np.uint8), np.arange(3))


def test_a_photo_is_a_jpeg_that_follows_from_its_number(clothing):
    first, second = clothing.photo(0), clothing.photo(1)
    assert first == clothing.photo(0) != second
    with Image.open(io.BytesIO(first)) as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (500, 375), "RGB")


def test_the_clothing_stands_out_from_what_is_behind_it():
    black, white = (Clothing(np.full((1, 28, 28, 1), value, np.uint8), np.zeros(1, np.int64)) for value in (0, 255))
    dark, bright = (np.asarray(Image.open(io.BytesIO(one.photo(0))), float) for one in (black, white))
    middle, edge = np.s_[100:275, 150:350], np.s_[:, :50]
    assert bright[middle].min() > dark[middle].mean() + 50
    assert abs(bright[edge].mean() - dark[edge].mean()) < 1


def test_agreement_is_the_share_of_equal_labels():
    assert agreement(["a", "b", "c", "d"], ["a", "b", "c", "x"]) == 0.75


async def test_the_best_classes_come_over_the_wire_in_the_pictures_order(asked, tiny):
    golden = tiny.golden_images(INPUT)
    expected = [LABELS[best] for best in tiny.golden_outputs()[OUTPUT].argmax(axis=1)]
    target = Target(f"{LOCALHOST}:{asked.server.port}", os.getpid())
    found = await asyncio.to_thread(best_classes, target, "tiny", golden * 5)  # in more calls than one
    assert found == expected * 5


async def test_a_picture_that_is_not_answered_is_an_error(asked):
    target = Target(f"{LOCALHOST}:{asked.server.port}", os.getpid())
    with pytest.raises(RuntimeError, match="not answered"):
        await asyncio.to_thread(best_classes, target, "tiny", [b"no picture"])
