"""The real data, wherever this machine has it from; and what is said where it is not the real data."""

import numpy as np
import pytest

from training.datasets import Split, idx, load, user_cache
from training.datasets import fashion_mnist as loader
from training.errors import ConfigInvalid, DatasetCorrupt, DatasetUnavailable

DIGEST = "sha256:d1fd84a877f3b78fa9a171b3de73f93e7b6f69ed94bada3feae9d96821401f5c"


@pytest.fixture
def arrays(fashion_mnist):
    """The four arrays as the files hold them."""
    images = np.concatenate([fashion_mnist.train.images, fashion_mnist.validation.images])[..., 0]
    labels = np.concatenate([fashion_mnist.train.labels, fashion_mnist.validation.labels]).astype(np.uint8)
    return images, labels, fashion_mnist.test.images[..., 0], fashion_mnist.test.labels.astype(np.uint8)


@pytest.fixture
def folder(tmp_path, arrays):
    """The four files, unpacked."""
    for name, array in zip(loader.FILES, arrays, strict=True):
        (tmp_path / name).write_bytes(idx.encode(array))
    return tmp_path


def test_the_content_is_the_published_one(fashion_mnist):
    assert fashion_mnist.digest == DIGEST
    assert fashion_mnist.image_shape == (28, 28, 1)
    assert len(fashion_mnist.class_names) == 10
    splits = (fashion_mnist.train, fashion_mnist.validation, fashion_mnist.test)
    assert [len(split) for split in splits] == [55_000, 5_000, 10_000]
    assert {split.images.dtype.name for split in splits} == {"uint8"}
    assert np.bincount(fashion_mnist.test.labels).tolist() == [1_000] * 10


def test_a_class_name_stands_for_its_number(fashion_mnist):
    """Bags are wide at the bottom and trousers are a gap between two legs: a wrong order of names would show."""
    images, labels, names = fashion_mnist.train.images[..., 0], fashion_mnist.train.labels, fashion_mnist.class_names
    mean = {name: images[labels == number].mean(axis=0) for number, name in enumerate(names)}
    assert mean["Trouser"][24, 14] < 0.6 * mean["Trouser"][24, 10]
    assert mean["Bag"][20, 4] > 5 * mean["Trouser"][20, 4]
    assert mean["Ankle boot"][4:10].mean() > 5 * mean["Sneaker"][4:10].mean()


def test_unpacked_files_are_the_same_data(folder):
    assert load("fashion_mnist", folder).digest == DIGEST


def test_one_changed_pixel_is_refused(folder):
    file = folder / "t10k-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        DatasetCorrupt, match=r"t10k-images-idx3-ubyte from .* is not Fashion-MNIST's.*--data"
    ) as caught:
        load("fashion_mnist", folder)
    assert str(folder) in str(caught.value)


def test_swapped_files_are_refused(folder):
    train, test = folder / "train-labels-idx1-ubyte", folder / "t10k-labels-idx1-ubyte"
    train.write_bytes(test.read_bytes())
    with pytest.raises(DatasetCorrupt, match="train-labels"):
        load("fashion_mnist", folder)


def test_keras_gives_the_same_data(arrays, monkeypatch, tmp_path):
    said = []
    train_images, train_labels, test_images, test_labels = arrays
    monkeypatch.setattr(
        "keras.datasets.fashion_mnist.load_data",
        lambda: ((train_images, train_labels), (test_images, test_labels)),
    )
    nowhere_else(monkeypatch, tmp_path)
    assert loader.load(None, tmp_path / "cache", said.append).digest == DIGEST
    assert any("keras.datasets" in sentence for sentence in said)


def test_without_any_source_all_that_was_tried_is_listed_in_order(monkeypatch, tmp_path):
    def no_network():
        raise Exception("URL fetch failure")  # noqa: TRY002 - as Keras raises it

    monkeypatch.setattr("keras.datasets.fashion_mnist.load_data", no_network)
    nowhere_else(monkeypatch, tmp_path)
    with pytest.raises(DatasetUnavailable) as caught:
        loader.load(None, tmp_path / "cache", print)
    sentence = str(caught.value)
    tried = ["nothing-installed", "cache/fashion_mnist", "apt-get and dpkg not found", "URL fetch failure", "--data"]
    places = [sentence.index(part) for part in tried]
    assert places == sorted(places)


def nowhere_else(monkeypatch, tmp_path):
    """No installed package and no apt-get."""
    monkeypatch.setattr(loader, "INSTALLED", tmp_path / "nothing-installed")
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("make", "problem"), [(lambda _: None, "no such folder"), (lambda path: path.mkdir(), "no train")]
)
def test_a_named_folder_is_the_only_place_that_is_looked_into(tmp_path, make, problem):
    make(tmp_path / "data")
    with pytest.raises(DatasetUnavailable, match=problem) as caught:
        load("fashion_mnist", tmp_path / "data")
    assert "apt-get" not in str(caught.value)


def test_an_unknown_dataset_is_told_which_there_are():
    with pytest.raises(ConfigInvalid, match=r"'mnist'.*fashion_mnist"):
        load("mnist")


def test_the_cache_follows_the_xdg_convention(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "convoy" / "datasets"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "convoy" / "datasets"


def test_a_limit_shortens_only_the_training_pictures(dataset):
    limited = dataset.limited(10)
    assert isinstance(limited.train, Split)
    assert (len(limited.train), len(limited.validation)) == (10, len(dataset.validation))
    assert dataset.limited(None) is dataset
