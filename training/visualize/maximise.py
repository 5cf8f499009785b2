"""Activation maximisation: the picture that a filter answers to most. Put on cards by `cards`.

Gradient ascent on the pixels, after Erhan et al., "Visualizing higher-layer features of a deep network" (2009), kept
picture-like as Olah et al., "Feature visualization" (2017), do: the picture moves by a pixel between steps and is
blurred now and then, so that no single pixel wins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.visualize.graph import Block
from training.visualize.trace import blocks, compiled, input_names, numbers, spatial, trace, without_activation

_STEPS = 60
_RATE = 0.12
_BLUR_EVERY, _LAST_BLUR = 6, 54
_TINIEST = 1e-12
_FILTERS = 8
_ANY = 96
_FEW, _SMALL = 4, 96 * 96  # filters of a model with larger pictures than this: every step runs it once a filter
_ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Dropout", "SpatialDropout2D")


@dataclass(frozen=True, slots=True, eq=False)
class Maximised:
    """For filters of the layer at `path`: uint8 [n, h, w, c] pictures, and the mean activations they raise.

    `before` and `after`, float32 [n], are of the grey noise that the ascent starts from and of the pictures.
    """

    path: str
    filters: tuple[int, ...]
    pictures: NDArray[np.uint8]
    before: NDArray[np.float32]
    after: NDArray[np.float32]


def maximise(model: keras.Model, steps: int = _STEPS) -> Maximised | None:
    """Pictures for filters of the last convolution with feature maps, evenly chosen; None where there is none.

    A model with several inputs gets the same picture at each; one that takes any size gets pictures of 96 x 96.
    """
    deepest = [block for block in blocks(model) if spatial(block) and hasattr(block.layers[0], "kernel_size")]
    if not deepest:
        return None
    shape = tuple(side or _ANY for side in model.inputs[0].shape[1:])
    path = _before_activation(deepest[-1])
    channels = deepest[-1].shape[2] or 1
    count = _FILTERS if shape[0] * shape[1] <= _SMALL else _FEW
    filters = tuple(int(one) for one in np.unique(np.linspace(0, channels - 1, count).astype(int)))
    answer = compiled(lambda hidden: _activation(model, hidden, path, filters))
    hidden = _hidden(len(filters), shape)
    before, _ = answer(hidden)
    for step in range(steps):
        hidden = _climbed(hidden, answer, step)
    after, _ = answer(hidden)
    pictures = numbers(_pixels(hidden)).round().astype(np.uint8)
    return Maximised(deepest[-1].paths[0], filters, pictures, numbers(before), numbers(after))


def _before_activation(block: Block) -> str:
    """After the normalisation, which may turn a filter's sign, but before the rectifier, behind which all is still."""
    kinds = [type(layer).__name__ for layer in block.layers]
    last = next((number for number, kind in enumerate(kinds) if kind in _ACTIVATIONS), len(kinds)) - 1
    return block.paths[max(last, 0)]


def _hidden(count: int, shape: tuple[int, ...]) -> Any:
    """Where pictures start: grey with a little noise. Kept without bounds; `_pixels` brings them into 0 to 255."""
    noise = np.random.default_rng(0).normal(0, 0.1, (count, *shape))
    return tf.constant(noise, tf.float32)


def _pixels(hidden: Any) -> Any:
    return 255 * tf.sigmoid(hidden)


def _activation(model: keras.Model, hidden: Any, path: str, filters: tuple[int, ...]) -> tuple[Any, Any]:
    """Each picture's mean activation of its filter, [n], and the gradients of their sum to the hidden pictures."""
    with tf.GradientTape() as tape:
        tape.watch(hidden)
        pixels = _pixels(hidden)
        inputs = [pixels] * len(input_names(model))
        maps = without_activation(trace(model, inputs, until=path).steps[-1])
        means = tf.reduce_mean(tf.gather(maps, filters, axis=3, batch_dims=0), axis=(1, 2))
        own = tf.linalg.diag_part(means)
        total = tf.reduce_sum(own)
    return own, tape.gradient(total, hidden)


def _climbed(hidden: Any, answer: Callable[[Any], tuple[Any, Any]], step: int) -> Any:
    """One step up, the picture moved by up to a pixel meanwhile; every gradient has its own scale taken out."""
    shift = (step % 3 - 1, step // 3 % 3 - 1)
    moved = tf.roll(hidden, shift, (1, 2))
    _, gradient = answer(moved)
    scale = tf.math.reduce_std(gradient, axis=(1, 2, 3), keepdims=True)
    moved += _RATE * gradient / (scale + _TINIEST)
    hidden = tf.roll(moved, (-shift[0], -shift[1]), (1, 2))
    return _blurred(hidden) if step % _BLUR_EVERY == _BLUR_EVERY - 1 and step < _LAST_BLUR else hidden


def _blurred(hidden: Any) -> Any:
    """Each pixel half itself and half its neighbours, along both sides."""
    for axis in (1, 2):
        hidden = hidden / 2 + (tf.roll(hidden, 1, axis) + tf.roll(hidden, -1, axis)) / 4
    return hidden
