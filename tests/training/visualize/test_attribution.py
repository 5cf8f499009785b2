"""Explanations of models whose reasons are known."""

import keras
import numpy as np
import pytest
import small_models

from training.visualize.attribution import grad_cam, saliency
from training.visualize.trace import as_inputs, numbers, trace


def spotted(row, column):
    """A dark picture with one bright spot."""
    picture = np.zeros((1, 12, 12, 1), np.uint8)
    picture[0, row : row + 3, column : column + 3] = 255
    return picture


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 9), (8, 4)])
def test_grad_cam_lights_up_where_the_evidence_is(row, column):
    model, pixels = small_models.bright_or_dark(), {"image": spotted(row, column)}
    bright = grad_cam(model, pixels, "probabilities", np.array([0]))["image"][0]
    dark = grad_cam(model, pixels, "probabilities", np.array([1]))["image"][0]
    spot = pixels["image"][0, ..., 0] > 0
    assert (bright[spot] > 0).all()
    assert (bright[~spot] == 0).all()
    assert (dark[spot] == 0).all()
    assert (dark[~spot] > 0).all()


def test_grad_cam_is_what_the_paper_says():
    """With averaged maps and one dense layer it is the weighted sum of the maps: here the picture over its size."""
    pixels = small_models.pictures(3)
    heat = grad_cam(small_models.bright_or_dark(), {"image": pixels}, "probabilities", np.zeros(3, np.int64))["image"]
    assert np.allclose(heat, pixels[..., 0] / 255 * 100 / 144, atol=1e-5)


def test_rows_of_a_batch_are_explained_each_for_itself():
    model, pixels, classes = small_models.residual(), small_models.pictures(3, channels=3), np.array([2, 0, 1])
    together = saliency(model, {"image": pixels}, "probabilities", classes)["image"]
    assert together.shape == (3, 12, 12)
    first = grad_cam(model, {"image": pixels}, "probabilities", classes)["image"][0]
    alone = grad_cam(model, {"image": pixels[:1]}, "probabilities", classes[:1])["image"][0]
    assert np.allclose(first, alone, atol=1e-6)


def test_heads_are_explained_apart():
    model, pixels = small_models.residual(), {"image": small_models.pictures(2, channels=3)}
    classes = np.array([0, 1])
    one = grad_cam(model, pixels, "probabilities", classes)["image"]
    other = grad_cam(model, pixels, "coarse_probabilities", classes)["image"]
    assert not np.allclose(one, other)


def test_a_head_from_the_middle_is_explained_by_the_maps_that_lead_to_it():
    keras.utils.set_random_seed(0)
    model, pixels, classes = small_models.branched(), {"image": small_models.pictures(2)}, np.array([0, 1])
    main = grad_cam(model, pixels, "probabilities", classes)["image"]
    coarse = grad_cam(model, pixels, "coarse_probabilities", classes)["image"]
    assert main.shape == (2, 4, 4)
    assert coarse.shape == (2, 10, 10)
    assert (coarse > 0).any()


def test_saliency_is_where_the_model_looks_and_nowhere_else():
    heat = saliency(small_models.left_half(), {"image": small_models.pictures()}, "probabilities", np.zeros(4, int))
    assert (heat["image"][:, :, :6] > 0).any(axis=(1, 2)).all()
    assert (heat["image"][:, :, 6:] == 0).all()


def test_both_pictures_of_a_pair_are_explained():
    model = small_models.siamese()
    pixels = {"left": small_models.pictures(2, seed=1), "right": small_models.pictures(2, seed=2)}
    classes = np.array([0, 1])
    regions, points = (explain(model, pixels, "same_probabilities", classes) for explain in (grad_cam, saliency))
    assert list(regions) == list(points) == ["left", "right"]
    assert not np.allclose(regions["left"], regions["right"])
    assert all((heat > 0).any(axis=(1, 2)).all() for heat in points.values())


def test_a_model_within_the_model_is_looked_into():
    heat = grad_cam(small_models.inner_transfer(), {"image": small_models.pictures(1)}, "probabilities", np.array([0]))
    assert heat["image"].shape == (1, 5, 5)


def test_scores_are_followed_not_probabilities():
    """Where the model is certain a probability no longer moves, but the evidence is still there."""
    pixels = {"image": np.full((1, 12, 12, 1), 255, np.uint8)}
    model = small_models.bright_or_dark()
    assert model.predict(pixels["image"], verbose=0)[0, 0] == 1
    assert grad_cam(model, pixels, "probabilities", np.array([0]))["image"].min() > 0.5
    assert saliency(model, pixels, "probabilities", np.array([0]))["image"].max() > 0


def test_the_run_that_is_explained_gives_the_models_own_answers():
    for model, channels in ((small_models.chain(), 1), (small_models.residual(), 3)):
        pixels = small_models.pictures(channels=channels)
        logits = trace(model, as_inputs(model, {"image": pixels})).logits["probabilities"]
        powers = np.exp(numbers(logits))
        answers = model.predict(pixels, verbose=0)
        answers = answers["probabilities"] if isinstance(answers, dict) else answers
        assert np.allclose(powers / powers.sum(axis=1, keepdims=True), answers, atol=1e-6)
