"""What TensorFlow advises programmers is left out, what is news for whoever trains is not, and nothing calls home."""

import logging
import os
import subprocess
import sys

import pytest

from training.startup import start_tensorflow


def test_advice_to_programmers_is_left_out_and_warnings_are_not(caplog):
    start_tensorflow()
    logger = logging.getLogger("tensorflow")
    logger.warning("%d out of the last %d calls to %s triggered tf.function retracing.", 5, 14, "<function>")
    logger.warning("There are non-GPU devices in `tf.distribute.Strategy`, not using nccl allreduce.")
    logger.warning("Efficient allreduce is not supported for 3 IndexedSlices")
    logger.error("The disk is on fire")
    assert caplog.messages == ["Efficient allreduce is not supported for 3 IndexedSlices", "The disk is on fire"]


# Ends with the module's name where ONNX Runtime would be imported with its usage data on.
_WATCHED = """
import importlib, os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "onnxruntime" and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
            sys.exit(sys.argv[1])
sys.meta_path.insert(0, Watch())
importlib.import_module(sys.argv[1])
import onnxruntime
"""


@pytest.mark.parametrize("module", ["training.foreign.onnx_file", "training.replay", "service.runtimes.onnx"])
def test_onnx_runtime_sends_no_usage_data(module):
    unset = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, module], env=unset, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
