"""Class-activation maps: for each class, how much each place of the last feature map adds to its logit.

Zhou et al., "Learning deep features for discriminative localization" (2016). Where a head is one Dense layer on a
global average of the feature map, the sum over places and the sum over channels can change places: the map is a 1x1
convolution with the Dense layer's own weights, and its mean over all places is the logit without the bias. It equals
Grad-CAM there, but for the rectifier and a factor of the places' number, and needs no gradient, so ONNX can hold it.
`training.train` checks at its beginning that there are maps, `training.publish` makes them; the map's names are the
manifest's.
"""

from collections.abc import Sequence
from typing import Any

import keras
import msgspec

from bundle.manifest import Head, Signature
from training.asking import named
from training.errors import ConfigInvalid
from training.tasks import HeadSpec

# What may stand between the pooling, the Dense layer and the output without changing what a place adds to a logit.
_ABOVE_LOGITS = (keras.layers.Activation, keras.layers.Softmax)
_ONLY_IN_TRAINING = (keras.layers.Dropout, keras.layers.GaussianNoise, keras.layers.ActivityRegularization)


def map_name(head: str) -> str:
    """How the exported explanation of a head is called."""
    return f"{head}_activation_map"


def explaining(model: keras.Model, heads: Sequence[HeadSpec]) -> keras.Model:
    """A model of the same inputs and weights that gives every head's map, float32 [n, rows, columns, classes].

    Raises ConfigInvalid for a head that has none: one that is not a Dense layer on a global average.
    """
    outputs = named(model, model.output)
    maps = {map_name(head.name): _map(outputs[head.output], head.name) for head in heads}
    return keras.Model(model.input, maps)


def check(model: keras.Model, heads: Sequence[HeadSpec]) -> None:
    """Raises ConfigInvalid where `explaining` would. Makes no weights, so it may be asked on any device."""
    outputs = named(model, model.output)
    for head in heads:
        _parts(outputs[head.output], head.name)


def declared(heads: Sequence[Head], signature: Signature) -> tuple[Head, ...]:
    """The manifest's heads, each with its map where the signature has one."""
    names = {spec.name for spec in signature.explanations}
    return tuple(
        msgspec.structs.replace(head, activation_map=map_name(head.name)) if map_name(head.name) in names else head
        for head in heads
    )


def _map(output: keras.KerasTensor, head: str) -> keras.KerasTensor:
    dense, features = _parts(output, head)
    convolution = keras.layers.Conv2D(dense.units, 1, use_bias=False, dtype="float32", name=map_name(head))
    activation_map = convolution(features)
    kernel, *_ = dense.get_weights()
    convolution.set_weights([kernel[None, None]])
    return activation_map


def _parts(output: keras.KerasTensor, head: str) -> tuple[keras.layers.Dense, keras.KerasTensor]:
    """The Dense layer that gives the logits, and the feature map on whose average it stands."""
    dense, pooled = _below(output, _ABOVE_LOGITS)
    if not isinstance(dense, keras.layers.Dense):
        raise _impossible(head, f"its output comes from {_text(dense)}")
    pooling, features = _pooling(pooled)
    averages = isinstance(pooling, keras.layers.GlobalAveragePooling2D)
    if not averages or pooling.keepdims or pooling.data_format != "channels_last":
        raise _impossible(head, f"its Dense layer stands on {_text(pooling)}")
    return dense, features


def _pooling(tensor: keras.KerasTensor) -> tuple[Any, keras.KerasTensor]:
    """The layer below Dropout and its kin, and what it takes; a backbone that is a model of its own is looked into."""
    layer, taken = _below(tensor, _ONLY_IN_TRAINING)
    if not isinstance(layer, keras.Model) or len(layer.inputs) != 1 or len(layer.outputs) != 1:
        return layer, taken
    pooling, features = _pooling(layer.outputs[0])
    return pooling, keras.Model(layer.inputs[0], features)(taken)


def _below(tensor: keras.KerasTensor, passed: tuple[type, ...]) -> tuple[Any, keras.KerasTensor]:
    """The layer that makes the tensor, below layers of the kinds in `passed`, and what that layer takes."""
    while True:
        layer, node, _ = tensor._keras_history  # noqa: SLF001 - Keras has no public way from a tensor to its layer
        taken = layer._inbound_nodes[node].input_tensors  # noqa: SLF001
        if len(taken) != 1:
            return layer, tensor
        if not isinstance(layer, passed):
            return layer, taken[0]
        (tensor,) = taken


def _impossible(head: str, found: str) -> ConfigInvalid:
    return ConfigInvalid(
        f"--explain: head {head!r} has no class-activation map, because {found}; it takes one Dense layer on a "
        "GlobalAveragePooling2D (channels last), so choose an architecture that ends so, or train without --explain"
    )


def _text(layer: Any) -> str:
    return f"{type(layer).__name__} {layer.name!r}"
