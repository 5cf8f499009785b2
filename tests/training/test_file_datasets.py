"""Folders of pictures as they lie, to splits of pixels."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import photos
import pytest
import shapes

from bundle.preprocessing import decode
from training.datasets import FileOptions, load
from training.errors import ConfigInvalid, DatasetCorrupt, DatasetUnavailable

OPTIONS = FileOptions(height=photos.SIDE, width=photos.SIDE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photos.make(tmp_path_factory.mktemp("photos") / "shapes")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def read(source, cache, options=OPTIONS):
    said = []
    return load("files", source, options=options, cache=cache, say=said.append), said


def splits(dataset):
    return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}


def placed(dataset):
    """In which split each file is, and as what."""
    return {
        file: (name, dataset.class_names[label])
        for name, split in splits(dataset).items()
        for file, label in zip(split.files, split.labels, strict=True)
    }


def test_every_good_picture_is_in_one_split_with_its_folders_label(folder, cache):
    dataset, _ = read(folder, cache)
    found = placed(dataset)
    assert set(found) == {path for path in folder.rglob("*.*") if path != folder / photos.BAD}
    assert all(label == path.parent.name for path, (_, label) in found.items())
    assert (dataset.name, dataset.class_names) == ("shapes", tuple(sorted(shapes.NAMES)))
    assert 60 <= len(dataset.train) <= 80


def test_the_pixels_are_those_that_a_server_makes_of_the_same_file(folder, cache):
    options = FileOptions(height=10, width=14, channels=1, resize="pad", kernel="lanczos")
    dataset, _ = read(folder, cache, options)
    spec = dataset.preprocessing("image")
    assert (spec.height, spec.width, spec.channels, spec.resize, spec.kernel) == (10, 14, 1, "pad", "lanczos")
    for split in splits(dataset).values():
        for number, pixels in enumerate(split.images):
            assert split.encoded(number) == split.files[number].read_bytes()
            assert (pixels == decode(split.encoded(number), spec)).all()


def test_a_damaged_picture_is_passed_over_by_its_name(folder, cache, tmp_path):
    _, said = read(folder, tmp_path)
    (sentence,) = [one for one in said if "skipped" in one]
    assert sentence.startswith(f"skipped {folder / photos.BAD}: the JPEG picture is truncated or damaged")
    _, said_again = read(folder, tmp_path)
    assert said_again == [sentence]


def test_a_damaged_picture_is_fatal_where_it_is_to_be(folder, cache):
    with pytest.raises(DatasetCorrupt, match=rf"{photos.BAD}: .*--bad-pictures skip$"):
        read(folder, cache, FileOptions(height=photos.SIDE, width=photos.SIDE, bad_pictures="fail"))


def test_pictures_are_decoded_once_and_the_pixels_mapped(folder, tmp_path):
    first, said = read(folder, tmp_path)
    assert any("decoded 90 pictures" in sentence and "a second" in sentence for sentence in said)
    again, said = read(folder, tmp_path)
    assert not any("decoded" in sentence or "reading" in sentence for sentence in said)
    assert isinstance(again.train.images.base, np.memmap)
    assert not again.train.images.flags.writeable
    assert (first.train.images == again.train.images).all()
    assert first.digest == again.digest


def test_what_a_killed_run_left_is_not_taken_for_pixels(folder, tmp_path):
    good, _ = read(folder, tmp_path)
    (pixels,) = (tmp_path / "pixels").glob("*.pixels")
    content = pixels.read_bytes()
    pixels.rename(pixels.with_suffix(".part"))
    pixels.with_suffix(".part").write_bytes(content[:1000])
    again, said = read(folder, tmp_path)
    assert any("decoded" in sentence for sentence in said)
    assert (good.train.images == again.train.images).all()
    assert pixels.read_bytes() == content
    assert not list((tmp_path / "pixels").glob("*.part"))


def test_runs_that_want_the_same_pixels_make_them_once(folder, tmp_path):
    with ThreadPoolExecutor(4) as runs:
        found = list(runs.map(lambda _: read(folder, tmp_path), range(4)))
    assert sum("decoded" in sentence for _, said in found for sentence in said) == 1
    good, _ = read(folder, tmp_path)
    assert all((dataset.train.images == good.train.images).all() for dataset, _ in found)
    assert good.train.images.any()
    assert not list((tmp_path / "pixels").glob("*.part"))


def test_a_file_that_changed_is_read_again(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    before, _ = read(copy, tmp_path / "cache")
    changed = copy / "rows" / "001.jpg"
    content = bytearray((folder / "rows" / "005.jpg").read_bytes())
    changed.write_bytes(content)
    os.utime(changed, ns=(1, 1))
    after, said = read(copy, tmp_path / "cache")
    assert "reading 1 of 90 pictures that are new or changed" in said
    assert before.digest != after.digest


def test_adding_pictures_moves_none_and_copies_stay_together(tmp_path):
    for number in range(120):
        photos.noise(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", number)
    before = placed(read(tmp_path / "data", tmp_path)[0])
    for number in range(120, 160):
        photos.noise(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", number)
    for path in before:
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    after = placed(read(tmp_path / "data", tmp_path)[0])
    assert all(after[path] == place for path, place in before.items())
    assert all(after[path.with_name(f"copy-{path.name}")] == place for path, place in before.items())
    assert {name for name, _ in before.values()} == {"train", "validation", "test"}


def test_folders_of_splits_are_kept_to(tmp_path):
    seeds = iter(range(100))
    for folder, count in {"train": 9, "val": 5, "test": 4}.items():
        for number in range(count):
            for name in "ab":
                photos.noise(tmp_path / "data" / folder / name / f"{folder}-{number}.png", next(seeds))
    dataset, _ = read(tmp_path / "data", tmp_path)
    assert [len(split) for split in splits(dataset).values()] == [18, 10, 8]
    assert all(file.name.startswith("val-") for file in dataset.validation.files)


def test_a_missing_split_is_taken_from_the_training_pictures(tmp_path):
    for number in range(60):
        photos.noise(tmp_path / "data" / "train" / "ab"[number % 2] / f"{number}.png", number)
        photos.noise(tmp_path / "data" / "test" / "ab"[number % 2] / f"{number}.png", 100 + number)
    dataset, _ = read(tmp_path / "data", tmp_path)
    assert len(dataset.test) == 60
    assert len(dataset.train) + len(dataset.validation) == 60
    assert len(dataset.validation) > 0


def test_the_first_training_pictures_are_of_every_class(folder, cache):
    dataset, _ = read(folder, cache)
    assert set(dataset.limited(20).train.labels.tolist()) == {0, 1, 2}


def one_class(root):
    photos.noise(root / "only" / "a.png", 0)


def flat(root):
    photos.noise(root / "a.png", 0)


def few(root):
    photos.noise(root / "a" / "a.png", 0)
    photos.noise(root / "b" / "b.png", 1)


def unknown_in_test(root):
    for split in ("train", "test"):
        for name in "ab" if split == "train" else "abc":
            photos.noise(root / split / name / "a.png", 0)


def mixed_folders(root):
    photos.noise(root / "train" / "a" / "a.png", 0)
    photos.noise(root / "stray" / "a.png", 0)


def nothing_usable(root):
    for number in range(40):
        photos.noise(root / "good" / f"{number}.png", number)
    (root / "bad").mkdir()
    (root / "bad" / "text.txt").write_text("no picture")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (one_class, r"data has only the class 'only', but a classifier needs pictures of at least two classes"),
        (lambda root: root.mkdir(), r"data has no picture in a folder of its class; put .*, as data/rose/1\.jpg"),
        (flat, r"data has no picture in a folder of its class; put"),
        (few, r"data gives the \w+ split no picture \(2 in all\); add pictures, or say which"),
        (unknown_in_test, r"data/test has the class 'c', which the training pictures do not have"),
        (mixed_folders, r"data has folders for splits and also 'stray'"),
        (nothing_usable, r"data has no usable picture to train the class 'bad' on"),
    ],
)
def test_a_folder_that_cant_be_trained_on_is_told_why(tmp_path, make, sentence):
    make(tmp_path / "data")
    with pytest.raises(DatasetCorrupt, match=sentence):
        read(tmp_path / "data", tmp_path)


def test_an_empty_class_folder_is_named_and_passed_over(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "empty" / ".hidden").mkdir(parents=True)
    dataset, said = read(copy, tmp_path)
    assert dataset.class_names == tuple(sorted(shapes.NAMES))
    (sentence,) = [one for one in said if one.startswith("WARNING")]
    assert sentence.startswith(
        f"WARNING: the class folder {copy}/empty has no picture, so the model won't know this cl"
    )


def test_an_empty_class_folder_is_fatal_where_it_is_to_be(folder, tmp_path):
    (shutil.copytree(folder, tmp_path / "copy") / "empty").mkdir()
    with pytest.raises(DatasetCorrupt, match=r"the class folder .*/empty has no picture; add .*--bad-pictures skip$"):
        read(tmp_path / "copy", tmp_path, FileOptions(bad_pictures="fail"))


def test_a_class_without_validation_pictures_is_said_to_be_so(tmp_path):
    seeds = iter(range(100))
    for split in ("train", "val", "test"):
        for name in "ab" if split == "val" else "abc":
            photos.noise(tmp_path / "data" / split / name / f"{split}.png", next(seeds))
    (tmp_path / "data" / "val" / "c").mkdir()
    dataset, said = read(tmp_path / "data", tmp_path)
    assert dataset.class_names == ("a", "b", "c")
    assert any("/val/c has no picture, so nothing is measured of this class there" in sentence for sentence in said)


def test_one_class_beside_empty_ones_is_not_enough(tmp_path):
    photos.noise(tmp_path / "data" / "only" / "a.png", 0)
    (tmp_path / "data" / "empty").mkdir()
    with pytest.raises(DatasetCorrupt, match="has only the class 'only', but a classifier needs"):
        read(tmp_path / "data", tmp_path)


def test_a_cache_that_cant_be_written_is_said_with_what_it_needs(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetUnavailable, match=r"can't be kept in .*they need 0 MiB: make room.*--cache"):
        read(folder, tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "problem"), [("nowhere", "there is no such folder"), ("notes.txt", "neither a folder nor a .csv")]
)
def test_a_source_that_is_none_is_said(tmp_path, name, problem):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DatasetUnavailable, match=problem):
        read(tmp_path / name, tmp_path)


def test_files_need_a_folder():
    with pytest.raises(ConfigInvalid, match="--data"):
        load("files")


@pytest.mark.parametrize("name", ["two\nlines", "\udce9t\udce9", "tab\t"])
def test_a_class_that_cant_be_a_line_of_text_is_said_at_once(tmp_path, cache, name):
    for label in ("good", name):
        photos.noise(tmp_path / label / "0.png", seed=len(label))
    with pytest.raises(DatasetCorrupt, match="a label is one line of UTF-8") as caught:
        read(tmp_path, cache)
    assert str(caught.value).isprintable()


def test_a_bad_file_whose_name_is_not_utf_8_is_named(tmp_path, cache):
    photos.make(tmp_path / "shapes", bad=False)
    (tmp_path / "shapes" / "rows" / "\udcff.jpg").write_bytes(b"no picture")
    _, said = read(tmp_path / "shapes", cache)
    (skipped,) = (one for one in said if one.startswith("skipped"))
    assert "rows/\\xff.jpg: " in skipped
    assert skipped.isprintable()
