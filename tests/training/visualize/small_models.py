"""Networks of every shape that must be drawn and looked into, as small as they can be; some with weights we know."""

import keras
import numpy as np
from keras import layers


def chain():
    return keras.Sequential(
        [
            keras.Input((12, 12, 1), dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, padding="same", name="first"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="second"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax", name="probabilities"),
        ],
        name="chain",
    )


def residual():
    """Two heads on a network with a skip and a projected skip."""
    pixels = keras.Input((12, 12, 3), dtype="uint8", name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(layers.Rescaling(1 / 255)(pixels))
    y = layers.Conv2D(4, 3, padding="same")(layers.ReLU()(layers.Conv2D(4, 3, padding="same")(x)))
    x = layers.Add()([x, y])
    y = layers.Conv2D(6, 3, strides=2, padding="same")(x)
    x = layers.Add()([y, layers.Conv2D(6, 1, strides=2)(x)])
    x = layers.GlobalAveragePooling2D()(x)
    heads = {
        "probabilities": layers.Dense(3, activation="softmax")(x),
        "coarse_probabilities": layers.Dense(2, activation="softmax")(x),
    }
    return keras.Model(pixels, heads, name="residual")


def branched():
    """A coarse head from the middle; the layers after it lead to the other head alone."""
    pixels = keras.Input((12, 12, 1), dtype="uint8", name="image")
    middle = layers.Conv2D(4, 3, activation="relu", name="middle")(layers.Rescaling(1 / 255)(pixels))
    end = layers.Conv2D(4, 3, strides=2, activation="relu", name="end")(middle)
    heads = {
        "probabilities": layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(end)),
        "coarse_probabilities": layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(middle)),
    }
    return keras.Model(pixels, heads, name="branched")


def siamese():
    """Two pictures through one inner model."""
    encoder = keras.Sequential(
        [keras.Input((12, 12, 1)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()],
        name="encoder",
    )
    left = keras.Input((12, 12, 1), dtype="uint8", name="left")
    right = keras.Input((12, 12, 1), dtype="uint8", name="right")
    apart = keras.ops.abs(encoder(left) - encoder(right))
    answer = layers.Dense(2, activation="softmax")(apart)
    return keras.Model({"left": left, "right": right}, {"same_probabilities": answer}, name="siamese")


def shared_layers(side=8):
    """Two pictures through the same two layers, which belong to no inner model."""
    convolution, pool = layers.Conv2D(4, 3, name="seen_twice"), layers.GlobalAveragePooling2D()
    left, right = (keras.Input((side, side, 1), name=name) for name in ("left", "right"))
    both = layers.Concatenate()([pool(convolution(left)), pool(convolution(right))])
    return keras.Model([left, right], layers.Dense(2)(both), name="shared")


def fed_by_itself():
    pixels, convolution = keras.Input((8, 8, 2)), layers.Conv2D(2, 3, padding="same")
    return keras.Model(pixels, convolution(convolution(convolution(pixels))))


def inner_transfer():
    """A backbone as an inner model below a head, as transfer learning builds it."""
    inside = keras.Input((12, 12, 1))
    kept = layers.Conv2D(4, 3, activation="relu", name="deep")(inside)
    backbone = keras.Model(inside, layers.MaxPooling2D()(kept), name="backbone")
    pixels = keras.Input((12, 12, 1), dtype="uint8", name="image")
    features = layers.GlobalAveragePooling2D()(backbone(layers.Rescaling(1 / 255)(pixels)))
    return keras.Model(pixels, layers.Dense(2, activation="softmax")(features), name="transfer")


def bright_or_dark():
    """Two feature maps, the picture and its negative, averaged: class 0 is bright, class 1 dark. Weights are known."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1), dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(2, 1, name="maps"),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax", name="probabilities"),
        ]
    )
    model.get_layer("maps").set_weights([np.array([[[[1.0, -1.0]]]]), np.array([0.0, 1.0])])
    model.get_layer("probabilities").set_weights([100 * np.eye(2), np.zeros(2)])
    return model


def left_half():
    """Sees nothing of a picture's right half."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1), dtype="uint8", name="image"),
            layers.Rescaling(1 / 255),
            layers.Cropping2D(((0, 0), (0, 6))),
            layers.Conv2D(2, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    keras.utils.set_random_seed(3)
    for layer in model.layers:
        layer.set_weights([np.random.default_rng(1).uniform(0.1, 1, array.shape) for array in layer.get_weights()])
    return model


class Code(keras.Model):
    """A model that is code and has no graph."""

    def call(self, inputs):
        return inputs


def pictures(count=4, channels=1, side=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)
