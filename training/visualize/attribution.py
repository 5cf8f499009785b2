"""Which part of a picture speaks for an answer: Grad-CAM and saliency. Put on cards by `cards`.

Both follow the class's score before softmax back into the network: Grad-CAM to the last feature maps, which is coarse
and steady, saliency to the pixels, which is fine and restless.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.visualize.trace import Trace, as_inputs, compiled, input_names, numbers, trace

Heat = dict[str, NDArray[np.float32]]  # by input name: [n, height, width], nothing below 0

_NOISY_COPIES = 16
_NOISE = 0.05 * 255  # standard deviation


def grad_cam(model: keras.Model, pixels: Mapping[str, NDArray[Any]], output: str, classes: NDArray[np.int64]) -> Heat:
    """Selvaraju et al., "Grad-CAM" (2017), equations 1 and 2, at the last feature maps of which the output is made.

    `pixels` are uint8 [n, h, w, c] by input, `classes` int64 [n] the answer to explain for each. The heat has the
    feature maps' size. The maps see only that input; inputs without any of their own are left out.
    """

    def maps_with_gradients(inputs: list[Any]) -> dict[str, tuple[Any, Any]]:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            run = trace(model, inputs)
            score = _score(run, output, classes)
        found = {name: _last_maps(run, name, lambda maps: tape.gradient(score, maps)) for name in input_names(model)}
        return {name: maps for name, maps in found.items() if maps is not None}

    found = compiled(maps_with_gradients)(as_inputs(model, pixels))
    return {name: _weighted(maps, gradient) for name, (maps, gradient) in found.items()}


def saliency(model: keras.Model, pixels: Mapping[str, NDArray[Any]], output: str, classes: NDArray[np.int64]) -> Heat:
    """SmoothGrad, squared: the mean square of the gradients to the pixels over noisy copies, its largest channel.

    Smilkov et al., "SmoothGrad" (2017), with the square of Hooker et al., "A benchmark for interpretability methods"
    (2019), which leaves less grain. `pixels` are uint8 [n, h, w, c] by input, `classes` int64 [n]. The heat has the
    pictures' size. The noise is the same every time.
    """

    def gradients(inputs: list[Any]) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            score = _score(trace(model, inputs), output, classes)
        return list(tape.gradient(score, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO))

    graph, clean, random = compiled(gradients), as_inputs(model, pixels), np.random.default_rng(0)
    sums = [np.zeros(tensor.shape, np.float32) for tensor in clean]
    for _ in range(_NOISY_COPIES):
        noisy = [tensor + random.normal(0, _NOISE, tensor.shape).astype(np.float32) for tensor in clean]
        sums = [total + numbers(gradient) ** 2 for total, gradient in zip(sums, graph(noisy), strict=True)]
    means = ((total / _NOISY_COPIES).max(axis=3) for total in sums)
    return dict(zip(input_names(model), means, strict=True))


def _score(run: Trace, output: str, classes: NDArray[np.int64]) -> Any:
    """The sum of the chosen classes' scores; rows don't touch each other, so each gets its own gradient."""
    logits = run.logits[output]
    if logits.shape[1] == 1:  # a single sigmoid speaks for class 1, and against class 0
        return tf.reduce_sum(logits[:, 0] * tf.constant(np.where(classes > 0, 1.0, -1.0), logits.dtype))
    return tf.reduce_sum(tf.gather(logits, classes, batch_dims=1))


def _last_maps(run: Trace, name: str, gradient: Callable[[Any], Any]) -> tuple[Any, Any] | None:
    """The last feature maps that see only that input, and the score's gradient to them.

    Of a model with several heads the last maps of all may lead to another head: then the score has no gradient there.
    """
    for step in reversed(run.steps):
        if step.is_spatial and step.sources == {name} and (slope := gradient(step.value)) is not None:
            return step.value, slope
    return None


def _weighted(maps: Any, gradient: Any) -> NDArray[np.float32]:
    weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    return numbers(tf.nn.relu(tf.reduce_sum(weights * maps, axis=3)))
