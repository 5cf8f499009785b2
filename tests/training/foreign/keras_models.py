"""Keras models and SavedModels as other people save them, tiny, and random enough that every mistake shows."""

import warnings

import keras
import tensorflow as tf

HEIGHT, WIDTH = 8, 10
layers = keras.layers


def save(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, about NumPy 2 and about .h5
        model.save(path)
    return path


def sequential():
    """Scales its pixels itself, normalises, and ends with a softmax."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 3)),
            layers.Rescaling(1 / 255),
            layers.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.04, 0.05, 0.06]),
            layers.RandomFlip(),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def export(model, folder):
    """As a careful owner does it: without the random layers, which Keras's export would leave active."""
    kept = [layer for layer in model.layers if not isinstance(layer, layers.RandomFlip)]
    keras.Sequential([keras.Input((HEIGHT, WIDTH, 3)), *kept]).export(folder, verbose=False)
    return folder


def functional(**options):
    """Takes pixels that were scaled before, and gives logits."""
    keras.utils.set_random_seed(2)
    pixels = keras.Input((HEIGHT, WIDTH, 3), name="pixels", **options)
    left = layers.Conv2D(4, 3, padding="same")(pixels)
    right = layers.Conv2D(4, 1)(pixels)
    features = layers.ReLU()(layers.Add()([left, right]))
    return keras.Model(pixels, layers.Dense(3, kernel_initializer="he_normal")(layers.Flatten()(features)))


class Grey(tf.Module):
    """No Keras at all: grey pictures without a channel, and a name for its output."""

    def __init__(self):
        super().__init__()
        random = tf.random.Generator.from_seed(3)
        self.weights = tf.Variable(random.normal((HEIGHT * WIDTH, 3), stddev=0.3))

    @tf.function(input_signature=[tf.TensorSpec((None, HEIGHT, WIDTH), tf.float32, name="grey")])
    def probabilities(self, grey):
        return {"classes": tf.nn.softmax(tf.reshape(grey, (-1, HEIGHT * WIDTH)) @ self.weights)}


def save_grey(folder):
    module = Grey()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.probabilities})
    return folder


@keras.saving.register_keras_serializable("mine")
class Doubling(layers.Layer):
    """A layer of the user's own."""

    def call(self, values):
        return 2 * values


def with_own_layer():
    return keras.Sequential(
        [keras.Input((HEIGHT, WIDTH, 3)), layers.Rescaling(1 / 255), Doubling(), layers.Flatten(), layers.Dense(3)]
    )
