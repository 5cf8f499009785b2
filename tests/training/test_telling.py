"""What a person reads before and after a run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import shapes

from bundle.manifest import Preprocessing
from training import telling
from training.datasets import Dataset, Split
from training.fitting.progress import _is_told

FILES = {"dataset": "files", "data": "/flowers"}


def dataset(validation, test):
    splits = [shapes.split(count, seed, channels=3) for seed, count in enumerate((300, validation, test))]
    return Dataset("flowers", shapes.NAMES, *splits, "sha256:" + "0" * 64, resize="crop")


def test_the_data_and_every_choice_about_it_are_said():
    said = list(telling.of_data(dataset(120, 150), shapes.config(**FILES, validation_share=0.2)))
    total, pixels, splits = said
    assert total == "flowers: 570 pictures of 3 classes: rows 190, columns 190, checks 190"
    assert pixels.startswith(
        "pictures are read as 12x12 in colour (--height, --width, --channels), their longer side cro"
    )
    assert splits.startswith("splits: 300 for training, 120 for validation, 150 for test; where the data has no such")
    assert splits.endswith("by a digest of each file (--validation-share 0.2, --test-share 0.1)")


def test_of_arrays_only_what_they_are_is_said():
    assert list(telling.of_data(shapes.dataset(), shapes.config(dataset="fashion_mnist")))[1:] == [
        "pictures are 12x12 grey",
        "splits: 600 for training, 120 for validation, 120 for test",
    ]


def test_splits_that_say_little_are_warned_of_with_their_number_and_what_it_means():
    *_, validation, test = telling.of_data(dataset(17, 15), shapes.config(**FILES))
    assert validation.startswith("WARNING: only 17 pictures for validation, too few to tell a good epoch from a lucky")
    assert validation.endswith("add pictures or raise --validation-share")
    assert test.startswith("WARNING: only 15 pictures for the test: its accuracy may be off by 25 points either way")
    *_, test = telling.of_data(dataset(100, 99), shapes.config(**FILES))
    assert test.startswith("WARNING: only 99 pictures for the test: its accuracy may be off by 10 points")


def test_many_classes_are_named_in_part():
    names = tuple(f"class{number}" for number in range(40))
    split = Split(np.zeros((40, 4, 4, 3), np.uint8), np.arange(40))
    first, *_ = telling.of_data(Dataset("many", names, split, split, split, ""), shapes.config())
    assert first.endswith("class9 3 and 30 more classes")


def test_the_recipe_says_what_was_made_of_it():
    asked = shapes.config(epochs=30, batch_size=64)
    [recipe] = telling.of_recipe(asked, asked, 1000)
    assert recipe == ("recipe: sequential, 30 epochs of 15 steps of 64 pictures, learning rate 0.003, seed 0")
    _, note = telling.of_recipe(asked, dataclasses.replace(asked, epochs=86, batch_size=16), 118)
    assert note == (
        "note: 30 epochs of 118 pictures in batches of 64 would be 30 steps, too few to learn from, so it is 86 epochs "
        "in batches of 16: 602 steps (--epochs, --batch-size say it otherwise)"
    )


def test_what_comes_next_can_be_copied_to_a_shell(published):
    report, serve, classify = telling.what_next(published, Path("my models"), [Path("my/a rose.jpg")])
    assert report == f"report: {published.path}/report/index.html"
    assert Path(report.removeprefix("report: ")).is_file()
    assert serve == "next: convoy serve --repository 'my models'"
    assert classify.strip() == "convoy classify 'my/a rose.jpg' --server localhost:8500 --model shapes"


def test_a_model_with_several_inputs_is_asked_by_name(published):
    inputs = tuple(Preprocessing(input=name, height=8, width=8, channels=1) for name in ("left", "right"))
    golden = _with(published.manifest.golden, images={"left": ("golden/1.png",), "right": ("golden/2.png",)})
    pairs = dataclasses.replace(published, manifest=_with(published.manifest, preprocessing=inputs, golden=golden))
    *_, classify = telling.what_next(pairs, Path("models"), [Path("a.png")])
    assert f"convoy classify --input left=a.png --input right={published.path}/golden/2.png --server" in classify


def test_without_pictures_of_the_users_own_a_golden_one_is_there_to_ask_about(published):
    *_, classify = telling.what_next(published, Path("models"), [])
    asked = Path(classify.split()[2])
    assert asked.is_relative_to(published.path / "golden")
    assert asked.is_file()


def _with(manifest, **changes):
    import msgspec

    return msgspec.structs.replace(manifest, **changes)


@pytest.mark.parametrize("epochs", [1, 3, 50, 51, 600, 1000])
def test_of_many_epochs_some_are_told(epochs):
    told = [epoch for epoch in range(1, epochs + 1) if _is_told(epoch, epochs)]
    assert (told[0], told[-1]) == (1, epochs)
    assert len(told) <= 52
    assert epochs > 50 or len(told) == epochs


def test_what_belongs_into_the_report_is_said_and_kept():
    said, notes = [], []
    say = telling.noting(said.append, notes)
    sentences = ["starting TensorFlow", "WARNING: only 3 pictures", "skipped a.png: damaged", "exporting"]
    for sentence in sentences:
        say(sentence)
    assert (said, notes) == (sentences, sentences[1:3])
