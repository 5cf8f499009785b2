"""Starts TensorFlow without its chatter, without hiding an error, and with float32 meaning float32.

TensorFlow writes what it finds out about the machine straight to the process's standard error before its log level is
read. While it starts, that stream is held back; afterwards everything but the known chatter is passed on. What its
Python side advises to programmers, who are not the readers here, is left out by its text for good. Called by
`training.cli`: the choice before the data is loaded, which may import Keras, the start before training.
"""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Information and warnings; and that there is no CUDA driver (error 303), which on a machine without a GPU is no error.
_CHATTER = re.compile(r"[IW]\d{4} |WARNING: All log messages before absl|E\d{4} .*failed call to cuInit.*\(303\)")

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
        # On recent GPUs TensorFlow multiplies float32 with a mantissa of 10 bits; an exact export would seem wrong.
        tf.config.experimental.enable_tensor_float_32_execution(False)


def _is_news(record: logging.LogRecord) -> bool:
    return _ADVICE.search(record.getMessage()) is None


@contextmanager
def held_back_stderr() -> Iterator[None]:
    """Collects what is written to file descriptor 2, by C++ too, and passes on what is not chatter."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            lines = held.read().decode(errors="replace").splitlines(keepends=True)
            sys.stderr.write("".join(line for line in lines if not _CHATTER.match(line)))
