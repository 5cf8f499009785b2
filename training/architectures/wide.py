"""A wide, shallow residual network: what small pictures need to be told apart by the last percents.

The plan is the "ResNet-9" of Page's "How to train your ResNet" (2018), which won DAWNBench on CIFAR-10, one stage
shorter: each stage widens, pools, and adds one convolution around which a shortcut leads. For 28x28 grey pictures and
ten classes it has 1,112,394 parameters and four times the multiplications of `accurate`. It is for when accuracy is
worth an hour of training.
"""

from collections.abc import Mapping

import keras

from training.architectures.blocks import convolution, pooled_convolution
from training.architectures.heads import outputs

_STEM, _FIRST, _SECOND = 64, 128, 256


def build(image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float) -> keras.Model:
    """The untrained model of the input `image`, with one softmax layer a head on the pooled features."""
    pixels = keras.Input(image_shape, dtype="uint8", name="image")
    features = pooled_convolution(keras.layers.Rescaling(1 / 255)(pixels), _STEM)
    features = _around(convolution(features, _FIRST))
    features = _around(convolution(keras.layers.MaxPooling2D()(features), _SECOND))
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model({"image": pixels}, outputs(keras.layers.Dropout(dropout)(pooled), heads), name="wide")


def _around(features: keras.KerasTensor) -> keras.KerasTensor:
    """The features, and one more convolution of them beside a shortcut."""
    return keras.layers.Add()([features, convolution(features, features.shape[-1])])
