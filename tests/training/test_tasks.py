"""What the tasks ask, on splits whose answers can be worked out."""

import numpy as np
import pytest
import shapes

from training.datasets import Dataset, Split, fashion_mnist
from training.errors import ConfigInvalid
from training.tasks import FIXED_SEED, TASKS, output_name


def split(labels):
    """Pictures of one pixel, whose value is their number."""
    numbers = np.arange(len(labels), dtype=np.uint8)
    return Split(numbers[:, np.newaxis, np.newaxis, np.newaxis], np.array(labels, np.int64))


def dataset(labels, names=("a", "b", "c"), coarse=None):
    one = split(labels)
    return Dataset("numbers", names, one, one, one, "sha256:" + "0" * 64, coarse)


def test_the_class_keeps_the_plain_output_name():
    assert [output_name(head) for head in ("class", "coarse")] == ["probabilities", "coarse_probabilities"]


def test_a_classification_asks_the_class_of_each_picture():
    data = dataset([2, 0, 1])
    task = TASKS["classification"](data)
    assert (task.inputs, task.classes) == (("image",), {"class": 3})
    examples = task.examples(data.test, FIXED_SEED)
    assert examples.inputs["image"].tolist() == [0, 1, 2]
    assert examples.targets["class"].tolist() == [2, 0, 1]


def test_a_coarse_task_asks_both_classes():
    data = dataset([2, 0, 1], coarse=("soft", "hard", "soft"))
    task = TASKS["coarse"](data)
    assert [(head.name, head.labels) for head in task.heads] == [
        ("class", ("a", "b", "c")),
        ("coarse", ("soft", "hard")),
    ]
    targets = task.examples(data.test, FIXED_SEED).targets
    assert (targets["class"].tolist(), targets["coarse"].tolist()) == ([2, 0, 1], [0, 0, 1])


def test_a_dataset_without_coarse_classes_is_told_so():
    with pytest.raises(ConfigInvalid, match="'numbers' does not say which coarser class"):
        TASKS["coarse"](dataset([0, 1]))


def test_every_kind_of_clothing_has_a_coarser_one():
    pairs = dict(zip(fashion_mnist.CLASS_NAMES, fashion_mnist.COARSE_NAMES, strict=True))
    assert {name for name, coarse in pairs.items() if coarse == "Footwear"} == {"Sandal", "Sneaker", "Ankle boot"}
    assert (pairs["Trouser"], pairs["Bag"], pairs["Coat"]) == ("Bottoms", "Bag", "Top")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pairs_are_half_of_one_class_and_true(seed):
    labels = np.random.default_rng(seed).integers(0, 3, 300)
    data = dataset(labels)
    examples = TASKS["pairs"](data).examples(data.train, seed)
    left, right = labels[examples.inputs["left"]], labels[examples.inputs["right"]]
    assert (examples.targets["same"] == (left == right)).all()
    assert examples.targets["same"].sum() == 150
    assert (examples.inputs["left"] != examples.inputs["right"]).all()
    assert len(np.unique(examples.inputs["right"])) > 150


def test_pairs_are_drawn_from_the_seed():
    data = shapes.dataset(train=60)
    task = TASKS["pairs"](data)
    first, again, other = (task.examples(data.train, seed).inputs["right"].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_class_with_one_picture_is_paired_with_itself():
    data = dataset([0, 1, 1, 2])
    for seed in range(20):
        examples = TASKS["pairs"](data).examples(data.test, seed)
        for left, right, same in zip(*examples.inputs.values(), examples.targets["same"], strict=True):
            assert (data.test.labels[left] == data.test.labels[right]) == same
            assert left != right or left in {0, 3}


def test_pairs_need_two_classes():
    data = dataset([1, 1, 1])
    with pytest.raises(ConfigInvalid, match=r"the training pictures of .* are all of one class, "):
        TASKS["pairs"](data)
