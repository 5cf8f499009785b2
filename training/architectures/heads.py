"""The last layers of an architecture: from features to the probabilities of every head."""

from collections.abc import Mapping

import keras

from training.tasks import output_name


def outputs(features: keras.KerasTensor, heads: Mapping[str, int]) -> dict[str, keras.KerasTensor]:
    """One softmax layer a head on features [n, values], by output name; the layer has the output's name.

    `heads` is the number of labels by the head's name.
    """
    return {
        output_name(head): keras.layers.Dense(labels, activation="softmax", name=output_name(head))(features)
        for head, labels in heads.items()
    }
