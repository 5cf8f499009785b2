"""What is said while TensorFlow starts: chatter is dropped, everything else is passed on."""

import os

import pytest

from bundle.chatter import held_back_stderr

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
