"""A network of depthwise separable convolutions: few multiplications for its size.

Howard and others, "MobileNets: efficient convolutional neural networks for mobile vision applications" (2017): each
convolution is split into one that looks at each channel alone and one that mixes the channels of a point. For 28x28
grey pictures and ten classes it has 139,146 parameters. Only every second block halves the sides, which suits small
pictures. It is for models that must be cheap to run.
"""

from collections.abc import Mapping

import keras

from training.architectures.blocks import convolution, normalised
from training.architectures.heads import outputs

_STEM_WIDTH = 32
_WIDTHS = (64, 128, 128, 256, 256)  # every second block takes strides of 2


def build(image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float) -> keras.Model:
    """The untrained model of the input `image`, with one softmax layer a head on the pooled features."""
    pixels = keras.Input(image_shape, dtype="uint8", name="image")
    features = convolution(keras.layers.Rescaling(1 / 255)(pixels), _STEM_WIDTH)
    for number, width in enumerate(_WIDTHS):
        features = _separable(features, width, strides=1 + number % 2)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model({"image": pixels}, outputs(keras.layers.Dropout(dropout)(pooled), heads), name="separable")


def _separable(features: keras.KerasTensor, width: int, strides: int) -> keras.KerasTensor:
    alone = keras.layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(features)
    return convolution(keras.layers.ReLU()(normalised(alone)), width, kernel=1)
