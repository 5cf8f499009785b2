"""One run through a model with everything that happened on the way: what the looks inside are made from.

Inputs are float32 pixels from 0 to 255 although the model takes uint8, so that there are gradients to them. Layers are
called in inference mode, each told so: Keras's image augmentation is active unless told otherwise. Needs the
TensorFlow backend. Called by the modules beside it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.asking import named
from training.visualize.graph import Block, read_graph
from training.visualize.walk import tensors, walk

_SPATIAL = 4  # dimensions of a tensor of feature maps: batch, height, width, channels


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One call of one layer. `value` is its first result; `sources` are the model's inputs that it depends on."""

    path: str
    layer: Any
    arguments: tuple[Any, ...]
    value: Any
    sources: frozenset[str]

    @property
    def is_spatial(self) -> bool:
        """Whether the result is feature maps, more than one place each."""
        return len(self.value.shape) == _SPATIAL and self.value.shape[1] * self.value.shape[2] > 1


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """All steps in their order.

    For every output by its name: `logits`, its scores before softmax or sigmoid, [n, classes], and `features`, what the
    layer that made it was given, [n, ...].
    """

    steps: tuple[Step, ...]
    logits: dict[str, Any]
    features: dict[str, Any]


class _Reached(Exception):
    """The rest of the model is not of interest."""


def input_names(model: keras.Model) -> tuple[str, ...]:
    """The names of a model's inputs, in its order."""
    return tuple(tensor.name for tensor in model.inputs)


def as_inputs(model: keras.Model, pixels: Mapping[str, NDArray[Any]]) -> list[Any]:
    """Pictures by input name as float32 tensors in the model's order."""
    own = by_own_names(model, pixels)
    return [tf.constant(own[name], tf.float32) for name in input_names(model)]


def by_own_names(model: keras.Model, pixels: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Pictures by the names that the model has for its inputs.

    A model with one input takes them under whatever name: the published name need not be the one that Keras gave.
    """
    names = input_names(model)
    return dict(zip(names, pixels.values(), strict=True)) if len(names) == 1 else {name: pixels[name] for name in names}


def trace(model: keras.Model, inputs: list[Any], until: str | None = None) -> Trace:
    """Runs float32 tensors through the model, or through its steps up to the layer whose path is `until`."""
    steps: list[Step] = []
    origin = {id(tensor): frozenset((name,)) for name, tensor in zip(input_names(model), inputs, strict=True)}

    def visit(layer: Any, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = layer(*args, **kwargs, **_inference(layer, kwargs))
        taken, made = tensors(args, kwargs), tensors(result)
        sources = frozenset[str]().union(*(origin.get(id(tensor), frozenset()) for tensor in taken))
        origin.update((id(tensor), sources) for tensor in made)
        steps.append(Step(path, layer, args, made[0], sources))
        if path == until:
            raise _Reached
        return result

    try:
        outputs = walk(model, inputs, visit)
    except _Reached:
        return Trace(tuple(steps), {}, {})
    by_name = named(model, outputs)
    made_by = {name: _maker(steps, value) for name, value in by_name.items()}
    logits = {
        name: value if step is None else _before_activation(step)
        for (name, value), step in zip(by_name.items(), made_by.values(), strict=True)
    }
    return Trace(tuple(steps), logits, {name: step.arguments[0] for name, step in made_by.items() if step is not None})


def blocks(model: keras.Model) -> tuple[Block, ...]:
    """The layers of a model as blocks, those within inner models laid open, in an order in which they may run."""
    return tuple(block for block in read_graph(model, inside=True).blocks if block.role == "layer")


def spatial(block: Block) -> bool:
    """Whether a block gives feature maps, more than one place each."""
    return len(block.shape) == _SPATIAL - 1 and block.shape[0] != 1


def _inference(layer: Any, kwargs: dict[str, Any]) -> dict[str, bool]:
    takes = "training" in inspect.signature(layer.call).parameters and "training" not in kwargs
    return {"training": False} if takes else {}


def _maker(steps: list[Step], output: Any) -> Step | None:
    """The step that made an output, before a last layer that only squashes it."""
    step = next((one for one in reversed(steps) if one.value is output), None)
    if step is not None and isinstance(step.layer, keras.layers.Softmax | keras.layers.Activation):
        return _maker(steps, step.arguments[0]) or step
    return step


def _before_activation(step: Step) -> Any:
    """The scores whose softmax or sigmoid a step gives; what it gives where that is something else.

    Explanations follow scores: near certainty a probability hardly moves, whatever the picture does.
    """
    activation = getattr(step.layer, "activation", None)
    return (
        without_activation(step) if activation in {keras.activations.softmax, keras.activations.sigmoid} else step.value
    )


def without_activation(step: Step) -> Any:
    """What a step would give if its layer had no activation of its own; the layer is as it was afterwards."""
    activation = getattr(step.layer, "activation", None)
    if activation is None:
        return step.value
    step.layer.activation = keras.activations.linear
    try:
        return step.layer(*step.arguments)
    finally:
        step.layer.activation = activation


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a TensorFlow graph, which computes nothing that is not asked for.

    Eagerly the gradients of all kernels are computed along with those of the pixels: half of the work, and on some
    processors TensorFlow 2.21 corrupts memory in that of a 1×1 convolution with stride 2.
    """
    graph: Callable[..., Any] = tf.function(function, autograph=False)
    return graph


def numbers(tensor: Any) -> NDArray[np.float32]:
    """A tensor as a float32 array, whatever precision it was computed in."""
    array: NDArray[np.float32] = np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)
    return array
