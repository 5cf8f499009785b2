"""Data sets by others' names: what is made of their arrays, and the sentence where they can't be had."""

import sys

import numpy as np
import pytest

from training.datasets import load
from training.errors import ConfigInvalid, DatasetUnavailable


def test_keras_arrays_become_splits(monkeypatch):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (24, 5, 6, 3), np.uint8)
    labels = random.integers(0, 10, (24, 1), np.uint8)
    monkeypatch.setattr("keras.datasets.cifar10.load_data", lambda: ((images, labels), (images[:4], labels[:4])))
    dataset = load("keras:cifar10")
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [22, 2, 4]
    assert dataset.image_shape == (5, 6, 3)
    assert dataset.train.labels.tolist() == labels[:22, 0].tolist()
    assert (dataset.validation.images == images[22:]).all()
    assert dataset.class_names[3] == "cat"


def test_grey_arrays_get_a_channel(monkeypatch):
    images, labels = np.zeros((12, 4, 4), np.uint8), np.arange(12) % 10
    monkeypatch.setattr("keras.datasets.mnist.load_data", lambda: ((images, labels), (images, labels)))
    dataset = load("keras:mnist")
    assert dataset.image_shape == (4, 4, 1)
    assert dataset.train.labels.dtype == np.int64


def test_without_the_network_it_is_one_sentence(monkeypatch):
    def no_network():
        raise Exception("URL fetch failure")  # noqa: TRY002 - as Keras raises it

    monkeypatch.setattr("keras.datasets.mnist.load_data", no_network)
    with pytest.raises(DatasetUnavailable, match=r"keras\.datasets could not give mnist: URL fetch failure"):
        load("keras:mnist")


def test_without_the_library_its_install_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DatasetUnavailable, match="tfds:beans needs TensorFlow Datasets; run pip install"):
        load("tfds:beans", cache=tmp_path)


@pytest.mark.parametrize("name", ["keras:imdb", "keras:", "tfds:", "mnist"])
def test_an_unknown_name_is_told_which_there_are(name):
    with pytest.raises(ConfigInvalid, match=r"choose from .*keras:"):
        load(name)
