import logging
import os

import pytest

from training.startup import held_back_stderr, start_tensorflow

CHATTER = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    "I0000 00:00:1795366143.771536   24814 port.cc:153] oneDNN custom operations are on.\n"
    "E0000 00:00:1795366149.569480   24814 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"
)
ERRORS = (
    "E0000 00:00:1795366149.569480   24814 cuda_platform.cc:52] failed call to cuInit: OUT OF MEMORY (2)\n"
    "F0000 something is broken\n"
    "Segmentation fault\n"
)


def test_chatter_is_dropped_and_errors_are_passed_on(capfd):
    with held_back_stderr():
        os.write(2, (CHATTER + ERRORS + "no newline at the end").encode())
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == ERRORS + "no newline at the end"


def test_advice_to_programmers_is_left_out_and_warnings_are_not(caplog):
    start_tensorflow()
    logger = logging.getLogger("tensorflow")
    logger.warning("%d out of the last %d calls to %s triggered tf.function retracing.", 5, 14, "<function>")
    logger.warning("There are non-GPU devices in `tf.distribute.Strategy`, not using nccl allreduce.")
    logger.warning("Efficient allreduce is not supported for 3 IndexedSlices")
    logger.error("The disk is on fire")
    assert caplog.messages == ["Efficient allreduce is not supported for 3 IndexedSlices", "The disk is on fire"]


def test_errors_are_passed_on_when_the_start_fails(capfd):
    def start():
        with held_back_stderr():
            os.write(2, (CHATTER + ERRORS).encode())
            raise ImportError("broken")

    with pytest.raises(ImportError, match="broken"):
        start()
    assert capfd.readouterr().err == ERRORS
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
