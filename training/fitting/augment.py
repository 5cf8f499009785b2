"""Augmentation: what is drawn for every example, in NumPy, and what TensorFlow makes of its pixels.

The draws follow from the seed, the epoch and the step alone, so a run that goes on after a kill sees the pictures that
it would have seen, and several devices see those that one would. All of it happens between the data and the model,
whose input stays uint8: nothing of it can reach an export. Called by `batches` (draws) and `steps` (pixels).
"""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.config import TrainingConfig

Draws = dict[str, NDArray[np.generic]]

_AFFINE_VALUES = 8  # of a projective transform without its last


def draw(config: TrainingConfig, count: int, shape: tuple[int, int, int], random: np.random.Generator) -> Draws:
    """What happens to `count` pictures of `shape`, by kind, [count, ...]; only what the configuration asks for."""
    draws: Draws = {}
    if config.flip:
        draws["flip"] = random.random(count) < 0.5  # noqa: PLR2004
    if config.shift or config.rotate or config.zoom:
        draws["affine"] = _affine(config, count, shape, random)
    for name, most in (
        ("brightness", config.brightness),
        ("contrast", config.contrast),
        ("saturation", config.saturation),
    ):
        if most:
            draws[name] = random.uniform(-most, most, count).astype(np.float32)
    if config.cutout:
        draws["cutout"] = random.integers(0, shape[:2], (count, 2)).astype(np.int32)
    return draws


def _affine(
    config: TrainingConfig, count: int, shape: tuple[int, int, int], random: np.random.Generator
) -> NDArray[np.float32]:
    """Turned and scaled about the centre, moved by whole pixels: from a pixel given to the one it is taken from."""
    centre = (np.array([shape[1], shape[0]]) - 1) / 2
    angle = np.deg2rad(random.uniform(-config.rotate, config.rotate, count))
    scale = 1 + random.uniform(-config.zoom, config.zoom, count)
    moved = random.integers(-config.shift, config.shift, (count, 2), endpoint=True)
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
    offset = centre + moved - matrix @ centre
    rows = np.concatenate([matrix, offset[..., np.newaxis]], axis=-1).reshape(count, -1)
    return np.concatenate([rows, np.zeros((count, _AFFINE_VALUES - rows.shape[1]))], axis=1).astype(np.float32)


def draw_mixing(config: TrainingConfig, count: int, random: np.random.Generator) -> Draws:
    """As "kept" how much of itself each example keeps, at least half, float32 [count]; nothing where none is mixed.

    Zhang and others, "mixup: Beyond Empirical Risk Minimization", 2018.
    """
    if not config.mixup:
        return {}
    kept = random.beta(config.mixup, config.mixup, count)
    return {"kept": np.maximum(kept, 1 - kept).astype(np.float32)}


def apply(pictures: tf.Tensor, draws: dict[str, tf.Tensor], cutout: int) -> tf.Tensor:
    """The pictures, uint8 [n, height, width, channels], as they were drawn to be: uint8 of the same shape."""
    if "flip" in draws:
        pictures = tf.where(_each(draws["flip"]), tf.reverse(pictures, axis=[2]), pictures)
    if set(draws) <= {"flip"}:
        return pictures
    values = tf.cast(pictures, tf.float32)
    if "affine" in draws:
        values = tf.raw_ops.ImageProjectiveTransformV3(
            images=values,
            transforms=draws["affine"],
            output_shape=tf.shape(values)[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )
    values = _coloured(values, draws)
    if "cutout" in draws:
        values = _cut_out(values, draws["cutout"], cutout)
    return to_pixels(values)


def mix(pictures: tf.Tensor, partners: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Each picture with a part of its partner, uint8 [n, height, width, channels] like both; `kept` is float32 [n]."""
    share = _each(kept)
    return to_pixels(share * tf.cast(pictures, tf.float32) + (1 - share) * tf.cast(partners, tf.float32))


def to_pixels(values: tf.Tensor) -> tf.Tensor:
    """Rounded to uint8, as files hold them."""
    return tf.cast(tf.round(tf.clip_by_value(values, 0, 255)), tf.uint8)


def _coloured(values: tf.Tensor, draws: dict[str, tf.Tensor]) -> tf.Tensor:
    if "brightness" in draws:
        values += 255 * _each(draws["brightness"])
    if "contrast" in draws:
        mean = tf.reduce_mean(values, axis=[1, 2, 3], keepdims=True)
        values = mean + (values - mean) * (1 + _each(draws["contrast"]))
    if "saturation" in draws:
        grey = tf.reduce_mean(values, axis=3, keepdims=True)
        values = grey + (values - grey) * (1 + _each(draws["saturation"]))
    return values


def _cut_out(values: tf.Tensor, centres: tf.Tensor, side: int) -> tf.Tensor:
    """A square about each centre in the picture's mean: DeVries and Taylor, "Cutout", 2017."""
    height, width = tf.shape(values)[1], tf.shape(values)[2]
    rows, columns = tf.range(height)[tf.newaxis, :, tf.newaxis], tf.range(width)[tf.newaxis, tf.newaxis, :]
    start = centres - side // 2
    top, left = start[:, 0, tf.newaxis, tf.newaxis], start[:, 1, tf.newaxis, tf.newaxis]
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return tf.where(inside[..., tf.newaxis], tf.reduce_mean(values, axis=[1, 2, 3], keepdims=True), values)


def _each(values: tf.Tensor) -> tf.Tensor:
    """[n] so that it meets [n, height, width, channels] picture by picture."""
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]
