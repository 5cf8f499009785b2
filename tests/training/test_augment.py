"""What is drawn, and what becomes of pictures in which every pixel can be told from the others."""

from types import SimpleNamespace

import numpy as np
import pytest
import shapes
import tensorflow as tf

from training.fitting import augment

SHAPE = (6, 8, 3)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (200, *SHAPE), np.uint8)


def applied(pictures, config, seed=1):
    draws = augment.draw(config, len(pictures), pictures.shape[1:], np.random.default_rng(seed))
    tensors = {name: tf.constant(values) for name, values in draws.items()}
    return draws, augment.apply(tf.constant(pictures), tensors, config.cutout).numpy()


def plain(**changes):
    return shapes.config(**({"flip": False} | changes))


def test_nothing_asked_for_is_nothing_done(pictures):
    draws, given = applied(pictures, plain())
    assert draws == {}
    assert (given == pictures).all()


def test_about_half_is_mirrored_and_only_left_to_right(pictures):
    draws, given = applied(pictures, plain(flip=True))
    assert 60 < draws["flip"].sum() < 140
    for before, after, flipped in zip(pictures, given, draws["flip"], strict=True):
        assert (after == (before[:, ::-1] if flipped else before)).all()


def test_a_shift_moves_by_whole_pixels_and_fills_with_the_reflection(pictures):
    _, given = applied(pictures, plain(shift=2))
    padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2), (0, 0)), "symmetric")
    moves = set()
    for number, after in enumerate(given):
        places = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (after == padded[number, top : top + 6, left : left + 8]).all()
        ]
        assert places
        moves.update(places)
    assert len(moves) == 25


def test_a_quarter_turn_is_a_quarter_turn():
    picture = np.random.default_rng(0).integers(0, 256, (1, 7, 7, 1), np.uint8)
    given = augment.apply(tf.constant(picture), most(plain(rotate=90), (7, 7, 1)), 0).numpy()
    assert np.abs(given[0].astype(int) - np.rot90(picture[0]).astype(int)).max() <= 1


def most(config, shape):
    """The transform of the largest draw, without a move."""
    random = SimpleNamespace(
        uniform=lambda _low, high, count: np.full(count, high),
        integers=lambda *_, **__: np.zeros((1, 2)),
    )
    return {"affine": tf.constant(augment.draw(config, 1, shape, random)["affine"])}


def test_zoom_keeps_the_centre():
    picture = np.zeros((1, 9, 9, 1), np.uint8)
    picture[0, 3:6, 3:6] = 200
    given = augment.apply(tf.constant(picture), most(plain(zoom=0.5), (9, 9, 1)), 0).numpy()
    assert given[0, 4, 4] == 200
    assert (given > 100).sum() > (picture > 100).sum()
    assert (given == given[:, ::-1, ::-1]).all()


@pytest.mark.parametrize("knob", ["brightness", "contrast", "saturation"])
def test_colours_change_and_stay_pixels(pictures, knob):
    draws, given = applied(pictures, plain(**{knob: 0.5}))
    assert np.abs(draws[knob]).max() <= 0.5
    assert given.dtype == np.uint8
    assert (given != pictures).any()


def test_brightness_is_a_share_of_white(pictures):
    draws, given = applied(pictures // 4 + 96, plain(brightness=0.2))
    expected = pictures // 4 + 96 + np.round(255 * draws["brightness"])[:, None, None, None]
    assert np.abs(given - expected).max() <= 1


def test_a_square_is_cut_out(pictures):
    _, given = applied(pictures, plain(cutout=3))
    changed = (given != pictures).any(axis=3)
    assert changed.sum(axis=(1, 2)).min() >= 1
    assert changed.sum(axis=(1, 2)).max() == 9
    assert (changed.any(axis=1).sum(axis=1) <= 3).all()


def test_a_mixed_example_keeps_the_larger_part():
    kept = augment.draw_mixing(plain(mixup=0.4), 1000, np.random.default_rng(0))["kept"]
    assert 0.5 <= kept.min() < kept.max() <= 1
    pictures = np.stack([np.full(SHAPE, 100, np.uint8), np.full(SHAPE, 200, np.uint8)])
    mixed = augment.mix(tf.constant(pictures), tf.constant(pictures[::-1]), tf.constant([0.75, 0.5])).numpy()
    assert mixed[:, 0, 0, 0].tolist() == [125, 150]
    assert augment.draw_mixing(plain(), 10, np.random.default_rng(0)) == {}
