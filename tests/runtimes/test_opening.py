"""Which variant is opened by which engine, and what is said when it can't be."""

import os
import subprocess
import sys

import pytest
from bundles import make_bundle

from bundle.manifest import Variant
from service.errors import DeviceUnavailable, ModelUnusable, SettingsError
from service.runtimes.devices import Device
from service.runtimes.opening import check_device, choose_variant, open_runtime
from service.runtimes.usable import usable_cores

CPU = Device("cpu")
KERAS = Variant(name="keras", format="saved_model", path=".")
FP32 = Variant(name="fp32", format="onnx", path="model.onnx")
INT8 = Variant(name="int8", format="onnx", path="model.int8.onnx", precision="int8")
ALL = (KERAS, FP32, INT8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("repository"))


@pytest.mark.parametrize(
    ("engine", "name", "chosen"),
    [
        ("auto", None, FP32),  # ONNX first, in the manifest's order
        ("auto", "int8", INT8),
        ("auto", "keras", KERAS),
        ("onnx", None, FP32),
        ("tensorflow", None, KERAS),
    ],
)
def test_the_variant_follows_the_engine_and_the_name(engine, name, chosen):
    assert choose_variant(ALL, engine, name) is chosen


def test_auto_takes_a_saved_model_where_there_is_no_onnx():
    assert choose_variant((KERAS,), "auto") is KERAS


@pytest.mark.parametrize(
    ("engine", "name"), [("tensorflow", "fp32"), ("onnx", "keras"), ("auto", "fp16"), ("tensorflow", "fp16")]
)
def test_what_the_bundle_lacks_is_said_with_what_it_has(engine, name):
    with pytest.raises(ModelUnusable) as caught:
        choose_variant(ALL, engine, name)
    for part in (engine, repr(name), "keras (saved_model)", "fp32 (onnx)", "int8 (onnx)"):
        assert part in str(caught.value)


def test_zero_threads_means_all_usable_cores(bundle):
    assert open_runtime(bundle, engine="auto", device=CPU, threads=0).info.threads == usable_cores()


def test_fewer_than_zero_threads_are_refused(bundle):
    with pytest.raises(SettingsError, match="threads is -1"):
        open_runtime(bundle, engine="auto", device=CPU, threads=-1)


def test_an_unusable_variant_is_named(tmp_path):
    bundle = make_bundle(tmp_path)
    (bundle.path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelUnusable, match=r"^variant 'fp32': "):
        open_runtime(bundle, engine="onnx", device=CPU, threads=1)


def test_opening_an_onnx_bundle_never_imports_tensorflow(bundle):
    program = (
        "import sys; from pathlib import Path; from bundle.store import open_bundle;"
        "from service.runtimes.opening import open_runtime; from service.runtimes.devices import Device;"
        "open_runtime(open_bundle(Path(sys.argv[1])), engine='auto', device=Device('auto'), threads=1);"
        "print(sorted({'tensorflow', 'keras', 'onnxruntime'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", program, os.fspath(bundle.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['onnxruntime']"


def test_a_missing_onnx_runtime_is_said_with_its_extra(bundle, monkeypatch):
    monkeypatch.delitem(sys.modules, "service.runtimes.onnx", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as Python marks a module that can't be imported
    with pytest.raises(SettingsError, match=r"ONNX Runtime is not installed.*\.\[service\]"):
        open_runtime(bundle, engine="onnx", device=CPU, threads=1)


@pytest.mark.parametrize(
    ("engine", "device"), [("openvino", "cuda"), ("openvino", "tensorrt"), ("tensorflow", "tensorrt")]
)
def test_an_engine_that_never_runs_on_the_device_is_a_start_up_mistake(engine, device):
    with pytest.raises(DeviceUnavailable, match=f"{device}:0 can't be used by engine {engine}"):
        check_device(engine, Device(device))


@pytest.mark.parametrize("engine", ["auto", "onnx", "openvino", "tensorflow"])
def test_every_engine_has_the_cpu(engine):
    check_device(engine, Device("cpu"))
