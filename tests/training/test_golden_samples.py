"""How many golden samples there are and how large they get, since a server runs all of them whenever it loads."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from bundle.manifest import Preprocessing
from training.datasets import Dataset, Split
from training.golden import write_golden
from training.tasks import TASKS, HeadSpec
from training.tasks.task import Examples, Task


def split(classes, side, each=2):
    labels = np.repeat(np.arange(classes), each)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), side, side, 1), np.uint8)
    return Split(images, labels)


def task_of(pictures, classes):
    names = tuple(f"c{number}" for number in range(classes))
    return TASKS["classification"](Dataset("many", names, pictures, pictures, pictures, "sha256:" + "0" * 64))


def written(folder, pictures, task, side):
    """The golden pictures of a model that tells their mean, opened."""
    image = keras.Input((side, side, 1), dtype="uint8", name="image")
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(image))
    spec = Preprocessing(input="image", height=side, width=side, channels=1)
    golden = write_golden(keras.Model(image, {"mean": mean}), folder, pictures, task, (spec,))
    return [Image.open(io.BytesIO((folder / path).read_bytes())) for path in golden.images["image"]]


@pytest.mark.parametrize(("classes", "samples"), [(3, 18), (20, 20), (64, 64), (1000, 64)])
def test_of_very_many_classes_some_are_shown(tmp_path, classes, samples):
    pictures = split(classes, side=4, each=6)
    assert len(written(tmp_path, pictures, task_of(pictures, classes), side=4)) == samples + 2


def test_what_is_shown_lies_evenly_among_the_classes(tmp_path, monkeypatch):
    shown = []
    pictures = split(1000, side=4)
    encode = Split.encoded
    monkeypatch.setattr(Split, "encoded", lambda self, index: shown.append(self.labels[index]) or encode(self, index))
    written(tmp_path, pictures, task_of(pictures, 1000), side=4)
    assert min(shown) == 0
    assert max(np.diff(shown)) <= 33  # every fifth is a JPEG, which is not seen here


def test_several_heads_share_the_limit(tmp_path):
    pictures = split(60, side=4)
    heads = tuple(HeadSpec(name, ("a",) * 60) for name in ("one", "two", "three"))
    turned = {head.name: np.roll(pictures.labels, 40 * number) for number, head in enumerate(heads)}
    task = Task(("image",), heads, lambda split, _: Examples({"image": np.arange(len(split))}, turned))
    assert len(written(tmp_path, pictures, task, side=4)) <= 64 + 2


@pytest.mark.parametrize(("side", "size"), [(12, (60, 84)), (96, (480, 672)), (224, (448, 672)), (400, (800, 1200))])
def test_the_enlarged_sample_is_larger_than_the_input_but_not_huge(tmp_path, side, size):
    pictures = split(2, side)
    *_, large = written(tmp_path, pictures, task_of(pictures, 2), side)
    assert large.size == size
