"""The layers that most architectures repeat: a convolution, normalised and rectified.

Tensors are float32 [n, height, width, channels]. Called by the architectures beside it.
"""

import keras

# Running statistics that follow within tens of steps: a short run would else be judged on those of its beginning.
_MOMENTUM = 0.9


def convolution(tensor: keras.KerasTensor, width: int, kernel: int = 3, strides: int = 1) -> keras.KerasTensor:
    """A convolution to `width` channels, batch normalisation (Ioffe and Szegedy, 2015) and a rectifier."""
    return keras.layers.ReLU()(normalised(convolved(tensor, width, kernel, strides)))


def pooled_convolution(tensor: keras.KerasTensor, width: int) -> keras.KerasTensor:
    """The same with its sides halved, before the normalisation: a quarter of the values is left to normalise.

    Page, "How to train your ResNet 8: bag of tricks", 2019.
    """
    return keras.layers.ReLU()(normalised(keras.layers.MaxPooling2D()(convolved(tensor, width))))


def convolved(tensor: keras.KerasTensor, width: int, kernel: int = 3, strides: int = 1) -> keras.KerasTensor:
    """A convolution without a bias, which the normalisation after it would take away."""
    return keras.layers.Conv2D(width, kernel, strides=strides, padding="same", use_bias=False)(tensor)


def normalised(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """Batch normalisation."""
    return keras.layers.BatchNormalization(momentum=_MOMENTUM)(tensor)
