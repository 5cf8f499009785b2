"""Starts TensorFlow without its chatter, and with float32 meaning float32.

What its Python side advises to programmers, who are not the readers here, is left out by its text for good. Called by
the commands: the choice before the data is loaded, which may import Keras, the start before the work.
"""

import logging
import os
import re

from bundle.chatter import held_back_stderr

# Asking several models one after the other makes a graph for each, as it must; and CPUs share batches without NCCL.
_ADVICE = re.compile(r"triggered tf\.function retracing|not using nccl allreduce")


def choose_tensorflow() -> None:
    """Makes TensorFlow the backend that Keras will have, whatever the environment says; of use before its import.

    What is set here holds for the processes that are started, too.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # By default the first process takes a GPU's whole memory, and the one that proves the SavedModel finds none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def start_tensorflow(*, look_for_devices: bool = True) -> None:
    """Imports Keras on TensorFlow and lets it look for devices. Takes some seconds.

    One of several training processes must not look before it has joined the others.
    """
    choose_tensorflow()
    with held_back_stderr():
        import keras  # noqa: F401
        import tensorflow as tf

        if look_for_devices:
            tf.config.list_logical_devices()
        logging.getLogger("tensorflow").addFilter(_is_news)
        logging.getLogger("absl").setLevel(logging.ERROR)  # by which Keras tells how to save what others have made
        # On recent GPUs TensorFlow multiplies float32 with a mantissa of 10 bits; an exact export would seem wrong.
        tf.config.experimental.enable_tensor_float_32_execution(False)


def _is_news(record: logging.LogRecord) -> bool:
    return _ADVICE.search(record.getMessage()) is None
