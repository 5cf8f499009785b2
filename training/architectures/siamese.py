"""Two pictures through the same layers, and whether they show the same class.

Bromley and others, "Signature verification using a siamese time delay neural network" (1993); the absolute difference
of the two embeddings and a dense layer on it follow Koch, Zemel and Salakhutdinov (2015). For 28x28 grey pictures it
has 60,514 parameters, shared by both sides. It answers the task `pairs`, and is for comparing pictures of classes that
were not there in training: faces, products, signatures.
"""

from collections.abc import Mapping

import keras

from training.architectures.blocks import convolution
from training.architectures.heads import outputs
from training.tasks.pairs import LEFT, RIGHT

_WIDTHS = (32, 64)
_EMBEDDING = 64


def build(image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float) -> keras.Model:
    """The untrained model of the inputs `left` and `right`, with one softmax layer a head on how they differ."""
    embedding = _embedding(image_shape, dropout)
    pictures = {name: keras.Input(image_shape, dtype="uint8", name=name) for name in (LEFT, RIGHT)}
    left, right = (embedding(picture) for picture in pictures.values())
    difference = keras.ops.absolute(keras.layers.Subtract(name="difference")([left, right]))
    return keras.Model(pictures, outputs(difference, heads), name="siamese")


def _embedding(image_shape: tuple[int, int, int], dropout: float) -> keras.Model:
    """From a picture to float32 [n, 64]."""
    pixels = keras.Input(image_shape, dtype="uint8")
    features = keras.layers.Rescaling(1 / 255)(pixels)
    for width in _WIDTHS:
        features = keras.layers.MaxPooling2D()(convolution(features, width))
    features = convolution(features, _EMBEDDING)
    pooled = keras.layers.Dropout(dropout)(keras.layers.GlobalAveragePooling2D()(features))
    return keras.Model(pixels, keras.layers.Dense(_EMBEDDING)(pooled), name="embedding")
