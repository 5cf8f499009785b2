"""A real SavedModel through TensorFlow, in a process of its own: TensorFlow's switches hold for a whole process."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
import pytest
from bundles import make_bundle
from onnx import load, numpy_helper

from bundle.manifest import Manifest, Variant
from bundle.preprocessing import Limits
from bundle.store import Bundle, open_bundle
from service.errors import DeviceUnavailable, ModelUnusable, RuntimeFailed, SettingsError
from service.models import golden
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime

SAVED_MODEL = Variant(name="keras", format="saved_model", path="saved")
THREADS = 2


@pytest.fixture(scope="module")
def apart():
    """Runs a function of this module in a process that has TensorFlow, and returns or raises what it does."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield lambda function, *arguments: process.submit(function, *arguments).result()


@pytest.fixture(scope="module")
def path(tmp_path_factory, apart):
    """A version with the same weights as ONNX and as a SavedModel."""
    path = make_bundle(tmp_path_factory.mktemp("repository")).path
    apart(save_model, path)
    return path


def save_model(path):
    import tensorflow as tf

    constants = {each.name: numpy_helper.to_array(each) for each in load(path / "model.onnx").graph.initializer}
    module = tf.Module()
    module.weights, module.bias = tf.Variable(constants["weights"]), tf.Variable(constants["bias"])

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.uint8, name="image")])
    def serve(image):
        flat = tf.reshape(tf.cast(image, tf.float32) / 255, [-1, 8 * 8 * 3])
        return {"probabilities": tf.nn.softmax(flat @ module.weights + module.bias), "flat": flat}

    tf.saved_model.save(module, os.fspath(path / SAVED_MODEL.path), signatures=serve)
    tf.saved_model.save(module, os.fspath(path / "unsigned"))


def opened(path, *, device="cpu", **changes):
    """The runtime of the version's SavedModel; `changes` to the manifest make it contradict the graph."""
    bundle = open_bundle(path)
    manifest: Manifest = msgspec.structs.replace(bundle.manifest, variants=(SAVED_MODEL,))
    bundle = Bundle(path, msgspec.structs.replace(manifest, **changes))
    return bundle, open_runtime(bundle, engine="tensorflow", device=Device.parse(device), threads=THREADS)


def test_it_gives_what_the_onnx_variant_gives(apart, path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    expected = open_runtime(open_bundle(path), engine="onnx", device=Device("cpu"), threads=1).run({"image": pixels})
    outputs = apart(run, path, pixels)
    assert list(outputs) == ["probabilities"]  # the manifest does not declare the other
    np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], atol=1e-6)


def run(path, pixels):
    return opened(path)[1].run({"image": pixels})


def test_it_passes_the_golden_gate(apart, path):
    report = apart(prove, path)
    assert report.passed
    assert report.variant == "keras"
    assert report.max_difference < 1e-6


def prove(path):
    bundle, runtime = opened(path)
    return golden.check(runtime, bundle, SAVED_MODEL, Limits())


def test_it_says_what_runs(apart, path):
    info = apart(info_of, path, "auto")
    assert (info.variant, info.device, info.threads) == ("keras", "cpu", THREADS)
    assert info.engine.startswith("tensorflow 2.")


def info_of(path, device):
    return opened(path, device=device)[1].info


def test_the_threads_in_force_are_told_when_tensorflow_has_already_started(apart, path):
    threads, logged = apart(threads_of_a_second_runtime, path)
    assert threads == THREADS
    assert f"TensorFlow runs with {THREADS} threads since it started, 7 were asked for" in logged


def threads_of_a_second_runtime(path):
    import io
    import logging

    first, stream = opened(path), io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger("service").addHandler(handler)
    second = open_runtime(first[0], engine="tensorflow", device=Device("cpu"), threads=7)
    logging.getLogger("service").removeHandler(handler)
    return second.info.threads, stream.getvalue()


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 7, 8, 3)])
def test_a_failed_run_is_told_and_the_next_one_works(apart, path, shape):
    said, rows = apart(run_badly_then_well, path, shape)
    assert "TensorFlow failed on variant 'keras'" in said
    assert rows == 1


def run_badly_then_well(path, shape):
    runtime = opened(path)[1]
    with pytest.raises(RuntimeFailed) as caught:
        runtime.run({"image": np.zeros(shape, np.uint8)})
    return str(caught.value), len(runtime.run({"image": np.zeros((1, 8, 8, 3), np.uint8)})["probabilities"])


def test_after_close_it_refuses_to_run(apart, path):
    with pytest.raises(RuntimeFailed, match="closed"):
        apart(run_closed, path)


def run_closed(path):
    runtime = opened(path)[1]
    runtime.close()
    runtime.run({"image": np.zeros((1, 8, 8, 3), np.uint8)})


@pytest.mark.parametrize(
    ("device", "kind", "said"),
    [("cuda", DeviceUnavailable, "TensorFlow sees no GPUs"), ("tensorrt", ModelUnusable, "needs an ONNX variant")],
)
def test_there_is_no_silent_cpu(apart, path, device, kind, said):
    with pytest.raises(kind, match=said):
        apart(info_of, path, device)


@pytest.mark.parametrize(
    ("folder", "said"), [("absent", "TensorFlow can't load it"), ("unsigned", "no signature 'serving_default'")]
)
def test_a_folder_that_can_not_serve_is_refused(apart, path, folder, said):
    with pytest.raises(ModelUnusable, match=said):
        apart(open_folder, path, folder)


def open_folder(path: Path, folder: str):
    opened(path, variants=(msgspec.structs.replace(SAVED_MODEL, path=folder),))


def test_a_graph_that_contradicts_the_manifest_is_refused(apart, path):
    with pytest.raises(ModelUnusable, match=r"declares output 'probabilities' as float32 \[any, 4\]"):
        apart(open_with_four_classes, path)


def open_with_four_classes(path):
    signature = open_bundle(path).manifest.signature
    output = msgspec.structs.replace(signature.outputs[0], shape=(None, 4))
    opened(path, signature=msgspec.structs.replace(signature, outputs=(output,)))


def test_a_missing_tensorflow_is_said_with_its_extra(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as Python marks what can't be imported
    with pytest.raises(SettingsError, match=r"TensorFlow is not installed.*\.\[tensorflow\]"):
        opened(path)
