"""Any backbone of `keras.applications` with a new head: transfer learning (Yosinski and others, 2014).

The backbone's own preprocessing is part of the model, so nobody can forget it. Its weights stay as they are, and only
the head is trained, unless `fine_tune` says how many of its last layers are trained too: after the head, whose first
gradients are noise that would spoil them, and at a lower rate. Its batch normalisation stays in inference mode and
keeps its statistics in any case, because a few batches would spoil them too. The default, MobileNetV2 (Sandler and
others, 2018), has 2,270,794 parameters with a head of ten classes, 12,810 of them in the head. It is for few pictures
of things that ImageNet's resemble. Without weights (`none`) all of it is trained, from the beginning.
"""

import math
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras

from training.architectures.backbones import DEFAULT, IMAGENET, NO_WEIGHTS, check
from training.architectures.heads import outputs
from training.errors import ConfigInvalid, WeightsUnavailable

_COLOURS = 3
_LEAST_SIDE = 32  # what most backbones take at least


def build(
    image_shape: tuple[int, int, int],
    heads: Mapping[str, int],
    dropout: float,
    *,
    backbone: str | None = None,
    weights: str | None = None,
    fine_tune: int = 0,
) -> keras.Model:
    """The model of the input `image`, with one softmax layer a head on the backbone's averaged features.

    `weights` is `imagenet` (the default), `none` or a file of the backbone's weights without its top, as
    `keras.applications` has them. Smaller pictures than 32 are enlarged by a whole factor, grey ones are repeated for
    each colour. Raises ConfigInvalid, WeightsUnavailable.
    """
    check(backbone, weights)
    name, weights = backbone or DEFAULT, weights or IMAGENET
    pixels = keras.Input(image_shape, dtype="uint8", name="image")
    coloured = _coloured(pixels)
    network = _backbone(name, weights, coloured.shape[1:])
    if weights != NO_WEIGHTS:
        _freeze(network, fine_tune)
    features = network(_preprocess(name)(coloured))
    return keras.Model({"image": pixels}, outputs(keras.layers.Dropout(dropout)(features), heads), name="transfer")


def head_variables(model: keras.Model) -> list[keras.Variable]:
    """What is trained while a backbone that will be fine-tuned still keeps its weights."""
    outside = [layer for layer in model.layers if not isinstance(layer, keras.Model)]
    return [variable for layer in outside for variable in layer.trainable_variables]


def backbones() -> dict[str, Callable[..., keras.Model]]:
    """The builders of `keras.applications` by name."""
    return {name: getattr(keras.applications, name) for name in dir(keras.applications) if name[0].isupper()}


def _coloured(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Float32 pixels 0 to 255 with three channels, each side at least 32."""
    coloured = keras.layers.Rescaling(1.0)(pixels)
    factor = math.ceil(_LEAST_SIDE / min(pixels.shape[1:3]))
    if factor > 1:
        coloured = keras.layers.UpSampling2D(factor)(coloured)
    return keras.layers.Concatenate()([coloured] * _COLOURS) if pixels.shape[-1] == 1 else coloured


def _preprocess(name: str) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """What the backbone's authors did to pixels; it stands in the module of the backbone's builder."""
    function: Callable[[Any], Any] = sys.modules[backbones()[name].__module__].preprocess_input
    return function


def _backbone(name: str, weights: str, shape: tuple[int, int, int]) -> keras.Model:
    fetched = IMAGENET if weights == IMAGENET else None
    try:
        with warnings.catch_warnings():
            # That the weights were made at another size than these pictures' is usual.
            warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square", UserWarning)
            network = backbones()[name](include_top=False, weights=fetched, input_shape=shape, pooling="avg")
    except ValueError as error:
        raise ConfigInvalid(f"backbone {name} can't take pictures of {list(shape)}: {error}") from error
    except Exception as error:  # Keras raises a bare Exception where the network fails
        raise WeightsUnavailable(
            f"the {IMAGENET} weights of {name} can't be fetched ({error}); give a file of them as the weights, "
            f"or {NO_WEIGHTS} to begin without"
        ) from error
    if weights not in {NO_WEIGHTS, IMAGENET}:
        _load(network, name, weights)
    return network


def _load(network: keras.Model, name: str, file: str) -> None:
    try:
        network.load_weights(file)
    except Exception as error:  # h5py and Keras raise whatever they like
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsUnavailable(f"{file} does not hold weights of {name} without its top: {reason}") from error


def _freeze(network: keras.Model, fine_tune: int) -> None:
    """Leaves the last layers trainable, without those that normalise."""
    for layer in network.layers[: max(0, len(network.layers) - fine_tune)]:
        layer.trainable = False
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
