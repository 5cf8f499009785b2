"""OpenVINO on a tiny real model, compared with what NumPy says the graph computes. Runs where OpenVINO is installed."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from bundles import make_bundle
from expected import scores_of_pixels
from explained import MAP, make_explained, maps

from bundle.preprocessing import Limits
from service.errors import DeviceUnavailable, ModelUnusable, RuntimeFailed, SettingsError
from service.models import golden
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime

CPU = Device("cpu")
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("repository"))


def open_model(bundle, **others):
    return open_runtime(bundle, **({"engine": "openvino", "device": CPU, "threads": 1} | others))


@pytest.fixture
def runtime(bundle):
    opened = open_model(bundle)
    yield opened
    opened.close()


def request_of(runtime, size):
    return runtime._models._answering._requests[size][0]


def pictures(count):
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@needs_openvino
@pytest.mark.parametrize("count", [1, 3, 64])
def test_it_computes_what_the_graph_says(bundle, runtime, count):
    pixels = pictures(count)
    before = pixels.copy()
    outputs = runtime.run({"image": pixels})
    assert list(outputs) == ["probabilities"]
    np.testing.assert_allclose(outputs["probabilities"], scores_of_pixels(bundle, pixels), atol=1e-6)
    np.testing.assert_array_equal(pixels, before)


@needs_openvino
def test_batches_are_padded_to_the_next_size_and_nobody_sees_it(bundle, runtime):
    assert runtime.info.padded
    for count in (3, 1, 4, 2, 5, 7, 3):
        pixels = pictures(count)
        outputs = runtime.run({"image": pixels})["probabilities"]
        np.testing.assert_allclose(outputs, scores_of_pixels(bundle, pixels), atol=1e-6)
    assert sorted(runtime._models._answering._requests) == [1, 2, 3, 4, 6, 8]


@needs_openvino
def test_a_large_file_is_compiled_once_for_batches_of_any_size(bundle, monkeypatch):
    from service.runtimes import openvino

    monkeypatch.setattr(openvino, "_MOST_BYTES", 1)
    opened = open_model(bundle)
    assert opened._models._answering.func is openvino._run
    assert not opened.info.padded
    for count in (3, 1, 5):
        pixels = pictures(count)
        outputs = opened.run({"image": pixels})["probabilities"]
        np.testing.assert_allclose(outputs, scores_of_pixels(bundle, pixels), atol=1e-6)


@needs_openvino
def test_outputs_stay_what_they_were_when_it_runs_again(runtime):
    first = runtime.run({"image": pictures(2)})["probabilities"]
    kept = first.copy()
    runtime.run({"image": pictures(2)[::-1].copy()})
    np.testing.assert_array_equal(first, kept)


@needs_openvino
def test_it_says_what_runs(bundle, runtime):
    assert str(runtime.info).startswith("openvino 20")
    assert str(runtime.info).endswith(" fp32 on cpu, 1 thread")
    assert open_model(bundle, threads=2).info.threads == 2


@needs_openvino
def test_arithmetic_threads_and_streams_are_what_was_asked_for(runtime):
    compiled = request_of(runtime, 1).get_compiled_model()
    told = {name: compiled.get_property(name) for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS")}
    assert told == {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    assert "float" in str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


@needs_openvino
def test_bf16_is_coarser_says_so_and_must_keep_every_best_class(bundle):
    try:
        coarse = open_model(bundle, computed="bf16")
    except DeviceUnavailable:
        pytest.skip("this CPU does not compute in bf16")
    assert "(bf16)" in coarse.info.engine
    report = golden.check(coarse, bundle, bundle.variant("fp32"), Limits())
    assert 1e-6 < report.max_difference < golden.REDUCED_TOLERANCE
    golden.prove(coarse, bundle, 8, reduced=True)


class AnotherClass:
    """A runtime whose best class is another one by a hair."""

    def __init__(self, behind):
        self.info = behind.info
        self._behind = behind

    def run(self, inputs):
        values = self._behind.run(inputs)["probabilities"]
        return {"probabilities": np.full_like(values, 1 / 3) + np.eye(3, dtype=np.float32)[values.argmin(axis=1)] / 100}


def test_reduced_precision_that_changes_a_best_class_is_refused(tmp_path):
    """The tolerance alone, as wide as it is here, would let it pass."""
    bundle = make_bundle(tmp_path, tolerance=1.0)
    runtime = AnotherClass(open_runtime(bundle, engine="onnx", device=CPU, threads=1))
    golden.prove(runtime, bundle, 4)
    with pytest.raises(ModelUnusable, match=r"gives 0\.0% of the golden samples their best class"):
        golden.prove(runtime, bundle, 4, reduced=True)


@needs_openvino
def test_a_failed_run_is_told_and_the_next_one_works(runtime):
    with pytest.raises(RuntimeFailed, match="variant 'fp32'"):
        runtime.run({"image": np.zeros((1, 7, 8, 3), np.uint8)})
    assert runtime.run({"image": pictures(2)})["probabilities"].shape == (2, 3)


@needs_openvino
def test_after_close_it_refuses_to_run(bundle):
    runtime = open_model(bundle)
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeFailed, match="closed"):
        runtime.run({"image": pictures(1)})


@needs_openvino
def test_what_is_no_graph_is_refused(tmp_path):
    bundle = make_bundle(tmp_path)
    (bundle.path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelUnusable, match="variant 'fp32': OpenVINO can't open it"):
        open_model(bundle)


@needs_openvino
def test_a_gpu_is_refused_and_never_replaced_by_the_cpu(bundle):
    with pytest.raises(ModelUnusable, match="device cuda:0 can't run OpenVINO"):
        open_model(bundle, device=Device("cuda"))


@needs_openvino
def test_importing_it_sends_no_usage_data_and_leaves_the_converter_usable():
    program = (
        "import sys; import service.runtimes.openvino;"
        "print([name for name in sys.modules if 'telemetry' in name.partition('service.')[0] or name.endswith('.ovc')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_openvino_computes_in_bf16(bundle):
    with pytest.raises(SettingsError, match="engine onnx does not compute in bf16"):
        open_model(bundle, engine="onnx", computed="bf16")


def test_a_missing_openvino_is_said_with_its_extra(bundle, monkeypatch):
    monkeypatch.delitem(sys.modules, "service.runtimes.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)  # as Python marks a module that can't be imported
    with pytest.raises(SettingsError, match=r"OpenVINO is not installed.*\.\[openvino\]"):
        open_model(bundle)


@needs_openvino
def test_it_explains_who_asks(tmp_path):
    bundle = make_explained(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    runtime = open_model(bundle, explain=True)
    assert list(runtime.run({"image": pixels})) == ["probabilities"]
    np.testing.assert_allclose(runtime.run({"image": pixels}, explain=True)[MAP], maps(pixels), atol=1e-5)
    assert golden.check(runtime, bundle, bundle.variant("fp32"), Limits(), explain=True).passed
    runtime.close()
    with pytest.raises(RuntimeFailed, match="closed"):
        runtime.run({"image": pixels}, explain=True)
