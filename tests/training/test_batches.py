import numpy as np
import pytest
import shapes

from training.fitting import batches
from training.fitting.batches import Feed, ahead, class_weights
from training.fitting.cluster import Share
from training.tasks import TASKS


def feed(dataset, share=None, task="classification", **changes):
    config = shapes.config(**({"batch_size": 20, "flip": False} | changes))
    return Feed(config, dataset.train, TASKS[task](dataset), share or Share())


def rows(feed, epoch, first=0):
    """Pictures and targets of an epoch, step by step."""
    chunks = list(feed.chunks(epoch, first))
    pictures = np.concatenate([chunk.tensors["pictures"]["image"] for chunk in chunks])
    return pictures, np.concatenate([chunk.tensors["targets"]["class"] for chunk in chunks])


@pytest.fixture(scope="module")
def few(dataset):
    return dataset.limited(60)


def test_every_picture_is_seen_once_an_epoch_in_a_new_order(few):
    seen = [rows(feed(few), epoch)[0].reshape(60, -1) for epoch in (0, 1)]
    assert sorted(map(bytes, seen[0])) == sorted(map(bytes, seen[1])) == sorted(map(bytes, few.train.images))
    assert (seen[0] != seen[1]).any()


def test_a_picture_keeps_its_label(few):
    label_of = {bytes(image): label for image, label in zip(few.train.images, few.train.labels, strict=True)}
    pictures, labels = rows(feed(few), 0)
    assert [label_of[bytes(image)] for image in pictures.reshape(60, -1)] == labels.reshape(-1).tolist()


def test_another_seed_gives_another_order(few):
    first, again, other = (rows(feed(few, seed=seed), 0)[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_any_step_can_be_the_first(dataset, monkeypatch):
    """The same pictures, draws and partners, whatever chunks they come in."""
    one = feed(dataset, flip=True, shift=2, cutout=3, mixup=0.4)
    whole = [chunk.tensors for chunk in one.chunks(3, 0)]
    monkeypatch.setattr(batches, "_STEPS", 4)
    rest = [chunk.tensors for chunk in one.chunks(3, 7)]
    for read in (
        lambda tensors: tensors["pictures"]["image"],
        lambda tensors: tensors["targets"]["class"],
        lambda tensors: tensors["draws"]["image"]["flip"],
        lambda tensors: tensors["draws"]["image"]["affine"],
        lambda tensors: tensors["draws"]["image"]["cutout"],
        lambda tensors: tensors["kept"],
        lambda tensors: tensors["partners"]["pictures"]["image"],
        lambda tensors: tensors["partners"]["targets"]["class"],
        lambda tensors: tensors["partners"]["draws"]["image"]["affine"],
    ):
        assert (np.concatenate(list(map(read, whole)))[7:] == np.concatenate(list(map(read, rest)))).all()


def test_every_input_is_drawn_for_on_its_own(dataset):
    (chunk, *_) = feed(dataset, task="pairs", flip=True).chunks(0, 0)
    draws = chunk.tensors["draws"]
    assert set(draws) == {"left", "right"}
    assert (draws["left"]["flip"] != draws["right"]["flip"]).any()


def test_pairs_are_other_ones_every_epoch(dataset):
    one = feed(dataset, task="pairs", batch_size=600)
    first, second = (next(one.chunks(epoch, 0)).tensors["targets"]["same"] for epoch in (0, 1))
    assert (first != second).any()


def test_shares_are_the_batch(dataset):
    whole, _ = rows(feed(dataset), 0)
    parts = [rows(feed(dataset, Share(number, 2)), 0)[0] for number in (0, 1)]
    assert (np.stack(parts, axis=2).reshape(whole.shape) == whole).all()


def test_partners_are_those_of_the_whole_batch(dataset):
    """So an example is mixed with the same one, drawn the same way, whoever has it."""
    (whole, *_), *parts = (
        [chunk.tensors for chunk in feed(dataset, Share(number, of), shift=2, mixup=0.4).chunks(0, 0)]
        for number, of in ((0, 1), (0, 2), (1, 2))
    )
    for name, kind in (("pictures", "image"), ("targets", "class")):
        assert (whole["partners"][name][kind] == np.roll(whole[name][kind], 1, axis=1)).all()
    shifts = whole["draws"]["image"]["affine"], whole["partners"]["draws"]["image"]["affine"]
    assert (np.roll(shifts[0], 1, axis=1) == shifts[1]).all()
    for number, (part, *_) in enumerate(parts):
        assert (part["kept"] == whole["kept"][:, number::2]).all()
        assert (part["partners"]["pictures"]["image"] == whole["partners"]["pictures"]["image"][:, number::2]).all()
        assert (part["partners"]["targets"]["class"] == whole["partners"]["targets"]["class"][:, number::2]).all()


def test_what_does_not_fill_a_batch_waits(few):
    assert (feed(few, batch_size=25).steps, feed(few, batch_size=100).batch_size) == (2, 60)
    assert rows(feed(few, batch_size=25), 0)[0].shape[:2] == (2, 25)


def test_large_pictures_make_short_chunks():
    assert batches.steps_together(128, (28, 28, 1), 1) == 20
    assert batches.steps_together(64, (224, 224, 3), 1) == 6
    assert batches.steps_together(512, (1024, 1024, 3), 2) == 1


def test_balanced_classes_weigh_the_same():
    targets = np.array([0] * 6 + [1] * 3 + [3])
    weights = class_weights(targets, 4)
    assert np.allclose(weights * np.bincount(targets, minlength=4), [10 / 3, 10 / 3, 0, 10 / 3])
    assert weights[targets].mean() == pytest.approx(1)


def test_items_come_in_order_and_an_error_comes_through():
    def items():
        yield from range(5)
        raise ValueError("the sixth")

    got = []
    with pytest.raises(ValueError, match="the sixth"):
        got.extend(ahead(items()))
    assert list(ahead(iter(range(3)))) == [0, 1, 2]


def test_large_data_is_not_copied_as_a_whole(tmp_path):
    """A sparse file of 40 GB: what is not read costs nothing."""
    shape = (40_000, 1024, 1024, 1)
    with (tmp_path / "pixels").open("wb") as file:
        file.truncate(int(np.prod(shape)))
    images = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=shape)
    from training.datasets import Dataset, Split

    split = Split(images, np.arange(len(images)) % 3)
    dataset = Dataset("large", shapes.NAMES, split, split, split, "sha256:" + "0" * 64)
    chunk = next(feed(dataset, batch_size=4).chunks(0, 9_000))
    assert chunk.tensors["pictures"]["image"].shape == (16, 4, 1024, 1024, 1)
