"""A small feed-forward CNN for small pictures: three convolutions, then two dense layers.

The plan is LeCun's LeNet-5 ("Gradient-based learning applied to document recognition", 1998) with what came since:
rectifiers, batch normalisation (Ioffe and Szegedy, 2015) and dropout. For 28x28 grey pictures and ten classes it has
225,050 parameters and 2.1 million multiplications a picture, so it trains in about a minute on two CPU cores. It is the
default for datasets of the size of MNIST; for photographs take a deeper one.
"""

import keras

_POOLED_WIDTHS = (16, 32)
_LAST_WIDTH = 64
_DENSE_UNITS = 64
# Running statistics that follow within tens of steps: a short run would else be judged on those of its beginning.
_MOMENTUM = 0.9


def build(image_shape: tuple[int, int, int], classes: int, dropout: float) -> keras.Sequential:
    """The untrained model: uint8 [n, height, width, channels] in, softmax probabilities float32 [n, classes] out.

    Scaling the pixels is its first layer, so it is part of every export.
    """
    model = keras.Sequential(name="sequential")
    model.add(keras.Input(image_shape, dtype="uint8", name="image"))
    model.add(keras.layers.Rescaling(1 / 255))
    for width in _POOLED_WIDTHS:
        model.add(keras.layers.Conv2D(width, 3, padding="same", use_bias=False))
        # Pooled before it is normalised: a quarter of the work, and the running statistics are as good.
        model.add(keras.layers.MaxPooling2D())
        model.add(keras.layers.BatchNormalization(momentum=_MOMENTUM))
        model.add(keras.layers.ReLU())
    model.add(keras.layers.Conv2D(_LAST_WIDTH, 3, padding="same", use_bias=False))
    model.add(keras.layers.BatchNormalization(momentum=_MOMENTUM))
    model.add(keras.layers.ReLU())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dropout(dropout))
    model.add(keras.layers.Dense(_DENSE_UNITS, activation="relu"))
    model.add(keras.layers.Dense(classes, activation="softmax", name="probabilities"))
    return model
