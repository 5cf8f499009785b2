"""What the manifest says is usual, against NumPy on the whole."""

import numpy as np
import pytest

from training.datasets import Split
from training.evaluate import Evaluation
from training.statistics import BINS, class_prior, confidence_histogram, pixel_statistics, statistics
from training.tasks import HeadSpec, Task
from training.tasks.task import Examples


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_have_the_mean_and_deviation_that_numpy_gives(channels):
    images = np.random.default_rng(0).integers(0, 256, (2_500, 4, 3, channels), np.uint8)
    images[..., 0] //= 3
    found = pixel_statistics(images)
    np.testing.assert_allclose(found.mean, images.mean(axis=(0, 1, 2), dtype=np.float64))
    np.testing.assert_allclose(found.std, images.std(axis=(0, 1, 2), dtype=np.float64))


def test_pictures_of_one_level_have_no_deviation():
    assert pixel_statistics(np.full((3, 2, 2, 1), 7, np.uint8)).std == (0,)


def test_classes_have_their_shares_also_one_without_a_picture():
    assert class_prior(np.array([0, 0, 0, 2]), 4) == (0.75, 0, 0.25, 0)


def test_scores_are_counted_in_bins_also_0_and_1():
    counts = confidence_histogram(np.array([0, 0.04, 0.06, 0.999, 1, 1.0000001], np.float32))
    assert (len(counts), counts[0], counts[1], counts[-1]) == (BINS, 2, 1, 3)


def test_every_input_and_head_has_its_own():
    split = Split(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 1, 1]))
    heads = (HeadSpec("class", ("a", "b")), HeadSpec("other", ("c", "d", "e")))

    def examples(split, seed):
        return Examples({"left": np.arange(4), "right": np.arange(4)}, {"class": split.labels, "other": split.labels})

    scores = {
        head.name: Evaluation(split.labels, split.labels, np.full(4, 0.5, np.float32), len(head.labels))
        for head in heads
    }
    found = statistics(split, Task(("left", "right"), heads, examples), scores)
    assert found.inputs.keys() == {"left", "right"}
    assert found.heads["class"].prior == (0.25, 0.75)
    assert found.heads["other"].prior == (0.25, 0.75, 0)
    assert sum(found.heads["other"].confidence) == 4
