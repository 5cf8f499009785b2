"""Real sessions on a tiny real model, compared with what NumPy says the graph computes."""

import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from bundles import make_bundle
from onnx import TensorProto, helper, numpy_helper

from bundle.manifest import Signature, TensorSpec
from service.errors import DeviceUnavailable, ModelUnusable, RuntimeFailed
from service.runtimes import onnx as runtime_module
from service.runtimes.devices import Device
from service.runtimes.onnx import OnnxRuntime

CPU = Device("cpu")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("repository"))


def open_model(bundle, *, device=CPU, threads=1):
    return OnnxRuntime(
        bundle.path / "model.onnx", bundle.manifest.signature, variant="fp32", device=device, threads=threads
    )


@pytest.fixture
def runtime(bundle):
    opened = open_model(bundle)
    yield opened
    opened.close()


def reference(bundle, pixels):
    """The graph computed by NumPy from the file's own weights."""
    constants = onnx.load(bundle.path / "model.onnx").graph.initializer
    values = {each.name: numpy_helper.to_array(each) for each in constants}
    logits = pixels.reshape(len(pixels), -1) / 255.0 @ values["weights"] + values["bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def pictures(count):
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_it_computes_what_the_graph_says(bundle, runtime, count):
    pixels = pictures(count)
    before = pixels.copy()
    outputs = runtime.run({"image": pixels})
    assert list(outputs) == ["probabilities"]
    assert outputs["probabilities"].dtype == np.float32
    np.testing.assert_allclose(outputs["probabilities"], reference(bundle, pixels), atol=1e-6)
    np.testing.assert_array_equal(pixels, before)


def test_it_says_what_runs(runtime):
    assert str(runtime.info) == f"onnxruntime {onnxruntime.__version__} fp32 on cpu, 1 thread"


@pytest.mark.parametrize(
    "inputs",
    [
        {"image": np.zeros((1, 8, 8, 3), np.float32)},
        {"image": np.zeros((1, 7, 8, 3), np.uint8)},
        {"picture": pictures(1)},
    ],
    ids=["dtype", "shape", "name"],
)
def test_a_failed_run_is_told_and_the_next_one_works(runtime, inputs):
    with pytest.raises(RuntimeFailed, match="variant 'fp32'"):
        runtime.run(inputs)
    assert runtime.run({"image": pictures(2)})["probabilities"].shape == (2, 3)


def test_after_close_it_refuses_to_run(bundle):
    runtime = open_model(bundle)
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeFailed, match="closed"):
        runtime.run({"image": pictures(1)})


@pytest.mark.parametrize("threads", [1, 3])
def test_it_starts_exactly_the_threads_asked_for(bundle, threads):
    program = (
        "import os, sys; from pathlib import Path; from bundle.store import open_bundle;"
        "from service.runtimes.onnx import OnnxRuntime; from service.runtimes.devices import Device;"
        "bundle = open_bundle(Path(sys.argv[1])); before = len(os.listdir('/proc/self/task'));"
        "runtime = OnnxRuntime(bundle.path / 'model.onnx', bundle.manifest.signature, variant='fp32',"
        " device=Device('cpu'), threads=int(sys.argv[2]));"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    command = [sys.executable, "-c", program, os.fspath(bundle.path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == threads - 1  # the caller's own thread is the first


def test_a_run_that_fails_on_its_device_is_never_repeated_on_the_cpu(bundle):
    """As ONNX Runtime's Python wrapper would, where its fallback is on."""
    assert not open_model(bundle)._models._answering.args[0]._enable_fallback


def test_waiting_threads_do_not_spin(bundle):
    options = open_model(bundle, threads=2)._models._answering.args[0].get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_zero_padding_before_max_pooling_is_right(tmp_path):
    """ONNX Runtime up to 1.31 fuses the two and pads with minus infinity instead, unless it is told not to."""
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[1, 1]),
    ]
    pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads")
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 4, 4]) for name in "xy"}
    graph = helper.make_graph(nodes, "pool", [values["x"]], [values["y"]], [pads])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "pool.onnx").write_bytes(model.SerializeToString())
    specs = {name: TensorSpec(name=name, dtype="float32", shape=(None, 1, 4, 4)) for name in "xy"}
    signature = Signature(inputs=(specs["x"],), outputs=(specs["y"],))
    runtime = OnnxRuntime(tmp_path / "pool.onnx", signature, variant="fp32", device=CPU, threads=1)
    pooled = runtime.run({"x": np.full((1, 1, 4, 4), -5, np.float32)})["y"][0, 0]
    expected = np.zeros((4, 4))
    expected[1:3, 1:3] = -5
    np.testing.assert_array_equal(pooled, expected)


@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_file_that_is_no_model_is_refused(bundle, tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelUnusable, match="ONNX Runtime can't open it"):
        OnnxRuntime(tmp_path / "model.onnx", bundle.manifest.signature, variant="fp32", device=CPU, threads=1)


def test_a_missing_file_is_refused(bundle, tmp_path):
    with pytest.raises(ModelUnusable, match=r"absent\.onnx"):
        OnnxRuntime(tmp_path / "absent.onnx", bundle.manifest.signature, variant="fp32", device=CPU, threads=1)


def test_a_graph_that_contradicts_the_manifest_is_refused(bundle, tmp_path):
    other = make_bundle(tmp_path, preprocessing={"channels": 1})
    with pytest.raises(ModelUnusable, match=r"uint8 \[any, 8, 8, 3\], the graph has uint8 \[any, 8, 8, 1\]"):
        OnnxRuntime(other.path / "model.onnx", bundle.manifest.signature, variant="fp32", device=CPU, threads=1)


def test_the_probe_is_the_graph_that_it_says():
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert model.SerializeToString() == runtime_module._PROBE


@pytest.fixture
def cuda_is_listed(monkeypatch):
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    runtime_module._settled.cache_clear()
    yield
    runtime_module._settled.cache_clear()


@pytest.mark.usefixtures("cuda_is_listed")
class TestAGpuThatDoesNotStart:
    """ONNX Runtime believes that it has CUDA, and then goes on with the CPU: what a broken driver looks like."""

    pytestmark = pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider' is not in available")

    def test_asked_for_it_is_an_error(self, bundle):
        with pytest.raises(DeviceUnavailable, match=r"device cuda:1 was asked for.*fell back to CPUExecutionProvider"):
            open_model(bundle, device=Device("cuda", 1))

    def test_auto_goes_on_with_the_cpu_and_says_so_once(self, bundle, caplog):
        for _ in range(2):
            runtime = open_model(bundle, device=Device("auto"))
            assert runtime.info.device == "cpu"
            assert runtime.run({"image": pictures(1)})["probabilities"].shape == (1, 3)
        assert caplog.text.count("device auto goes on with the cpu") == 1

    def test_a_broken_model_is_still_the_models_fault(self, bundle, tmp_path):
        (tmp_path / "model.onnx").write_bytes(b"not a graph")
        with pytest.raises(ModelUnusable, match="ONNX Runtime can't open it"):
            OnnxRuntime(
                tmp_path / "model.onnx", bundle.manifest.signature, variant="fp32", device=Device("auto"), threads=1
            )


class Gpu:
    """Stands for a GPU that runs the probe: sessions are the CPU's and say CUDA, but for those that raise `problem`."""

    def __init__(self):
        self.problem = None
        self.create = runtime_module._create_session

    def __call__(self, model, device, threads):
        if device.kind == "cuda" and self.problem:
            raise RuntimeError(self.problem)
        session = self.create(model, Device("cpu"), threads)
        if device.kind == "cuda":
            session.get_providers = onnxruntime.get_available_providers
        return session


@pytest.fixture
def gpu(cuda_is_listed, monkeypatch):
    gpu = Gpu()
    monkeypatch.setattr(runtime_module, "_create_session", gpu)
    return gpu


@pytest.mark.parametrize("kind", ["cuda", "auto"])
def test_a_model_that_does_not_fit_a_gpu_that_works_is_refused_alone_and_never_moved_to_the_cpu(bundle, gpu, kind):
    assert open_model(bundle, device=Device(kind)).info.device == "cuda:0"
    gpu.problem = "CUDA failure 2: out of memory"
    with pytest.raises(ModelUnusable, match=r"on device cuda:0.*failure 2: out of memory; .*fewer models"):
        open_model(bundle, device=Device(kind))
    gpu.problem = None
    assert open_model(bundle, device=Device(kind)).info.device == "cuda:0"


def test_a_gpu_that_can_not_run_the_probe_is_absent_for_the_whole_process(bundle, gpu):
    gpu.problem = "CUDA failure 100: no CUDA-capable device is detected"
    with pytest.raises(DeviceUnavailable, match=r"can't use it: CUDA failure 100.*onnxruntime-gpu\[cuda,cudnn\]"):
        open_model(bundle, device=Device("cuda"))
    assert open_model(bundle, device=Device("auto")).info.device == "cpu"
    gpu.problem = None
    assert open_model(bundle, device=Device("auto")).info.device == "cpu"
