"""A residual network: blocks of two convolutions, each with a shortcut around it.

He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2016), in the form of its section 4.2, for small
pictures. The picture's smaller side chooses the size. For CIFAR's 32x32x3, ResNet-20: three stages of three blocks,
274,042 parameters for ten classes. Below 32, as for 28x28x1, ResNet-14: three stages of two blocks, 176,090 parameters.
From 64 on a strided convolution and a pool in front reduce the picture to a quarter of each side, as in the paper's
networks for ImageNet. A shortcut that changes shape is a 1x1 convolution. It is for pictures on which depth pays, and
the example of a graph that is no row of layers.
"""

from collections.abc import Mapping

import keras

from training.architectures.blocks import convolution, convolved, normalised
from training.architectures.heads import outputs

_WIDTHS = (16, 32, 64)
_CIFAR_SIDE, _PHOTO_SIDE = 32, 64


def build(image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float) -> keras.Model:
    """The untrained model of the input `image`, with one softmax layer a head on the pooled features."""
    side = min(image_shape[:2])
    pixels = keras.Input(image_shape, dtype="uint8", name="image")
    features = _stem(keras.layers.Rescaling(1 / 255)(pixels), side)
    for stage, width in enumerate(_WIDTHS):
        for number in range(3 if side >= _CIFAR_SIDE else 2):
            features = _block(features, width, strides=2 if stage and not number else 1)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model({"image": pixels}, outputs(keras.layers.Dropout(dropout)(pooled), heads), name="residual")


def _stem(pixels: keras.KerasTensor, side: int) -> keras.KerasTensor:
    if side < _PHOTO_SIDE:
        return convolution(pixels, _WIDTHS[0])
    return keras.layers.MaxPooling2D(3, strides=2, padding="same")(convolution(pixels, _WIDTHS[0], kernel=7, strides=2))


def _block(features: keras.KerasTensor, width: int, strides: int) -> keras.KerasTensor:
    """Two convolutions whose result is added to what came in."""
    changed = normalised(convolved(convolution(features, width, strides=strides), width))
    shortcut = features
    if strides != 1 or features.shape[-1] != width:
        shortcut = normalised(convolved(features, width, kernel=1, strides=strides))
    return keras.layers.ReLU()(keras.layers.Add()([changed, shortcut]))
