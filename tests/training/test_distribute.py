"""Several devices and several processes give what one gives. Each in processes of its own: TensorFlow can't go back."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import shapes

from training.errors import ConfigInvalid
from training.fitting.cluster import Share, share
from training.train import train

SETTINGS = {"epochs": 2, "dropout": 0.0, "average": 0.9, "shift": 1, "mixup": 0.4, "limit": 128}
PROGRAM = """
import sys
import numpy as np
import shapes
import tensorflow as tf
distribute, devices, settings, out = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3]), sys.argv[4]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
from training.train import train
trained = train(shapes.config(distribute=distribute, **settings), shapes.dataset())
np.savez(out, *trained.model.get_weights(), losses=trained.history["val_loss"])
"""


@pytest.fixture(scope="module")
def alone(dataset):
    return train(shapes.config(**SETTINGS), dataset)


@pytest.fixture
def start():
    """Starts processes, and ends those that a failed test leaves."""
    with ExitStack() as stack:

        def begin(distribute, devices, out, **environment):
            path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, distribute, str(devices), repr(SETTINGS), str(out)],
                env=os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": path} | environment,
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


def finish(process, out):
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said[-3000:]
    with np.load(out) as archive:
        return dict(archive)


def check(found, alone):
    """Sums in another order differ in their last bits."""
    assert np.allclose(found["losses"], alone.history["val_loss"], rtol=1e-4)
    for number, weight in enumerate(alone.model.get_weights()):
        assert np.abs(found[f"arr_{number}"] - weight).max() < 1e-4


def test_two_devices_of_one_machine_give_what_one_gives(tmp_path, alone, start):
    out = tmp_path / "weights.npz"
    check(finish(start("mirrored", 2, out), out), alone)


def test_two_processes_give_what_one_gives(tmp_path, alone, start):
    outs = [tmp_path / f"{number}.npz" for number in (0, 1)]
    workers = free_ports(2)
    processes = [start("workers", 1, out, TF_CONFIG=tf_config(workers, number)) for number, out in enumerate(outs)]
    found = [finish(process, out) for process, out in zip(processes, outs, strict=True)]
    check(found[0], alone)
    assert all((found[0][name] == found[1][name]).all() for name in found[0])


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def tf_config(workers, number):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": number}})


def test_tf_config_says_which_share(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1", "c:1"], 2))
    assert share("workers") == Share(2, 3)
    assert share("mirrored") == Share(0, 1)


@pytest.mark.parametrize("text", [None, "{", "{}", '{"cluster": {"worker": ["a:1"]}, "task": {"index": 1}}'])
def test_a_wrong_tf_config_is_said(monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigInvalid, match="TF_CONFIG"):
        share("workers")
