"""A small feed-forward CNN for small pictures: three convolutions, then two dense layers.

The plan is LeCun's LeNet-5 ("Gradient-based learning applied to document recognition", 1998) with what came since:
rectifiers, batch normalisation (Ioffe and Szegedy, 2015) and dropout. For 28x28 grey pictures and ten classes it has
225,050 parameters and 2.1 million multiplications a picture, so it trains in about a minute on two CPU cores. It is the
default for datasets of the size of MNIST; for photographs take a deeper one.
"""

from collections.abc import Mapping

import keras

from training.architectures.heads import outputs

_POOLED_WIDTHS = (16, 32)
_LAST_WIDTH = 64
_DENSE_UNITS = 64
# Running statistics that follow within tens of steps: a short run would else be judged on those of its beginning.
_MOMENTUM = 0.9


def build(image_shape: tuple[int, int, int], heads: Mapping[str, int], dropout: float) -> keras.Model:
    """The untrained model of the input `image`, with one softmax layer a head."""
    stack = keras.Sequential(name="features")
    stack.add(keras.Input(image_shape, dtype="uint8", name="image"))
    stack.add(keras.layers.Rescaling(1 / 255))
    for width in _POOLED_WIDTHS:
        stack.add(keras.layers.Conv2D(width, 3, padding="same", use_bias=False))
        # Pooled before it is normalised: a quarter of the work, and the running statistics are as good.
        stack.add(keras.layers.MaxPooling2D())
        stack.add(keras.layers.BatchNormalization(momentum=_MOMENTUM))
        stack.add(keras.layers.ReLU())
    stack.add(keras.layers.Conv2D(_LAST_WIDTH, 3, padding="same", use_bias=False))
    stack.add(keras.layers.BatchNormalization(momentum=_MOMENTUM))
    stack.add(keras.layers.ReLU())
    stack.add(keras.layers.Flatten())
    stack.add(keras.layers.Dropout(dropout))
    stack.add(keras.layers.Dense(_DENSE_UNITS, activation="relu"))
    # The stack's own tensors, so that the model is one flat row of layers.
    return keras.Model({"image": stack.inputs[0]}, outputs(stack.outputs[0], heads), name="sequential")
