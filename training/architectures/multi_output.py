"""One trunk, several heads: the class from its end, coarser questions from its middle.

Zhu and Bain, "B-CNN: branch convolutional neural network for hierarchical classification" (2017): what is coarser can
be told from earlier features, and being asked early helps the features that follow. For 28x28 grey pictures, ten
classes and five coarser ones it has 94,959 parameters. It answers the task `coarse`: datasets say which coarser class
each of their classes belongs to.
"""

from collections.abc import Mapping

import keras

from training.architectures.blocks import convolution
from training.architectures.heads import outputs

_TRUNK = (32, 64)
_END = (128,)


def build(image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float) -> keras.Model:
    """The untrained model of the input `image`; the first head of `heads` is answered from the end of the trunk."""
    pixels = keras.Input(image_shape, dtype="uint8", name="image")
    middle = keras.layers.Rescaling(1 / 255)(pixels)
    for width in _TRUNK:
        middle = keras.layers.MaxPooling2D()(convolution(middle, width))
    end = middle
    for width in _END:
        end = convolution(end, width)
    main, *others = heads
    answers = outputs(_pooled(end, dropout), {main: heads[main]})
    if others:
        answers |= outputs(_pooled(middle, dropout), {head: heads[head] for head in others})
    return keras.Model({"image": pixels}, answers, name="multi_output")


def _pooled(features: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    return keras.layers.Dropout(dropout)(keras.layers.GlobalAveragePooling2D()(features))
