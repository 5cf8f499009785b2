import math

import numpy as np
import pytest

from bundle.postprocessing import abstained, top_k


def expected(row, k):
    """The definition, one row at a time: best first, ties to the lower index, NaN last."""
    order = sorted(range(len(row)), key=lambda index: (math.isnan(row[index]), -np.nan_to_num(row[index]), index))
    return order[:k]


@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_agrees_with_the_definition(classes):
    rng = np.random.default_rng(classes)
    scores = rng.normal(size=(7, classes)).astype(np.float32)
    for k in {1, min(5, classes), classes}:
        indices, values = top_k(scores, k)
        assert indices.tolist() == [expected(row, k) for row in scores]
        assert (values == np.take_along_axis(scores, indices, axis=1)).all()


def test_ties_go_to_the_lower_index_wherever_the_cut_falls():
    scores = np.random.default_rng(1).integers(0, 3, size=(20, 24)).astype(np.float32)
    for k in range(1, 25):
        assert top_k(scores, k)[0].tolist() == [expected(row, k) for row in scores]


def test_a_row_gives_the_same_answer_in_every_batch():
    scores = np.random.default_rng(2).integers(0, 5, size=(16, 100)).astype(np.float32)
    together = top_k(scores, 7)[0]
    for row, indices in zip(scores, together, strict=True):
        assert top_k(row[None], 7)[0][0].tolist() == indices.tolist()


def test_nan_comes_last_and_infinities_have_their_place():
    scores = np.array([[np.nan, -np.inf, 0.5, np.inf, -np.nan]], np.float32)
    indices, values = top_k(scores, 5)
    assert indices.tolist() == [[3, 2, 1, 0, 4]]
    assert np.isnan(values[0, 3:]).all()


def test_both_zeros_tie():
    assert top_k(np.array([[-0.0, 0.0, -0.0]], np.float32), 3)[0].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_gives_the_same_dtypes(dtype):
    indices, values = top_k(np.array([[0.25, 0.5]], dtype), 1)
    assert indices.tolist() == [[1]]
    assert values.tolist() == [[0.5]]
    assert (indices.dtype, values.dtype) == (np.int64, np.float32)


def test_rows_that_are_not_contiguous_are_read_right():
    scores = np.asfortranarray(np.random.default_rng(3).normal(size=(6, 12)).astype(np.float32))[::-2]
    assert top_k(scores, 3)[0].tolist() == [expected(row, 3) for row in scores]


def test_the_scores_are_left_alone():
    scores = np.array([[3.0, 1.0, 2.0]], np.float32)
    top_k(scores, 2)
    assert scores.tolist() == [[3.0, 1.0, 2.0]]


def test_an_empty_batch_gives_an_empty_answer():
    assert top_k(np.empty((0, 4), np.float32), 2)[0].shape == (0, 2)


@pytest.mark.parametrize("k", [-1, 0, 4])
def test_k_out_of_range_names_the_limit(k):
    with pytest.raises(ValueError, match=rf"top_k is {k}, .* between 1 and the number of classes, 3"):
        top_k(np.zeros((1, 3), np.float32), k)


def test_scores_without_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"shape \[3\]"):
        top_k(np.zeros(3, np.float32), 1)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_few_and_many_classes_are_ordered_by_the_same_rule(monkeypatch, k):
    """Ties, both zeros, infinities and NaN: the two ways to sort must not be told apart."""
    values = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan], np.float32)
    scores = np.random.default_rng(k).choice(values, (200, 20))
    few = top_k(scores, k)
    monkeypatch.setattr("bundle.postprocessing._FEW_CLASSES", 0)
    for one, other in zip(few, top_k(scores, k), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_answer_below_the_threshold_is_unsure_and_one_at_it_is_not():
    """The threshold is compared as the float32 that it was before it went into the manifest."""
    below = float(np.float32(0.7))
    best = np.array([0.2, np.nextafter(np.float32(0.7), np.float32(0)), 0.7, 0.9, np.nan], np.float32)
    assert abstained(best, below).tolist() == [True, True, False, False, True]
