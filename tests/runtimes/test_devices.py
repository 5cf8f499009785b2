"""The choice of a device, without one: every rule is pure and takes what is installed as an argument."""

import pytest

from service.errors import DeviceUnavailable, ModelUnusable, SettingsError
from service.runtimes.devices import (
    Device,
    check_provider,
    onnx_device,
    onnx_providers,
    tensorflow_device,
    unusable,
    usable_device,
)

CPU_ONLY = ["AzureExecutionProvider", "CPUExecutionProvider"]
WITH_CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]
WITH_TENSORRT = ["TensorrtExecutionProvider", *WITH_CUDA]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", Device("auto")),
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", 0)),
        ("cuda:1", Device("cuda", 1)),
        ("cuda:12", Device("cuda", 12)),
        ("tensorrt", Device("tensorrt", 0)),
        ("tensorrt:3", Device("tensorrt", 3)),
    ],
)
def test_a_device_is_parsed_and_its_text_means_the_same(text, device):
    assert Device.parse(text) == device
    assert Device.parse(str(device)) == device


@pytest.mark.parametrize(
    "text", ["", "gpu", "CPU", "cpu:0", "auto:1", "cuda:", "cuda:-1", "cuda:x", "cuda:1 ", "cuda:٣"]
)
def test_a_bad_device_is_refused_with_what_is_allowed(text):
    with pytest.raises(SettingsError, match=r"auto, cpu, cuda, cuda:N, tensorrt or tensorrt:N") as caught:
        Device.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("available", "kind"), [(CPU_ONLY, "cpu"), (WITH_CUDA, "cuda"), (WITH_TENSORRT, "cuda")])
def test_auto_takes_cuda_where_it_is_installed_and_says_which(available, kind):
    assert onnx_device(Device("auto"), available) == Device(kind)
    assert onnx_providers(Device("auto"), available)[0][0].lower().startswith(kind)


@pytest.mark.parametrize("text", ["cuda:1", "tensorrt"])
def test_an_accelerator_that_is_not_installed_is_an_error_with_a_remedy(text):
    with pytest.raises(DeviceUnavailable) as caught:
        onnx_providers(Device.parse(text), CPU_ONLY)
    for part in (str(Device.parse(text)), *CPU_ONLY, "onnxruntime-gpu"):
        assert part in str(caught.value)


def test_tensorrt_is_only_taken_when_asked_for():
    names = [name for name, _ in onnx_providers(Device("auto"), WITH_TENSORRT)]
    assert names == WITH_CUDA
    assert [name for name, _ in onnx_providers(Device("tensorrt"), WITH_TENSORRT)] == WITH_TENSORRT
    with pytest.raises(DeviceUnavailable):
        onnx_providers(Device("tensorrt"), WITH_CUDA)


def test_the_index_reaches_every_accelerator_provider():
    providers = onnx_providers(Device("tensorrt", 2), WITH_TENSORRT)
    assert [options.get("device_id") for _, options in providers] == ["2", "2", None]


def test_cuda_computes_in_full_fp32():
    options = dict(onnx_providers(Device("cuda"), WITH_CUDA))["CUDAExecutionProvider"]
    assert options["use_tf32"] == "0"


def test_the_cpu_gets_only_the_cpu_provider_even_beside_a_gpu():
    assert onnx_providers(Device("cpu"), WITH_TENSORRT) == [("CPUExecutionProvider", {})]


def test_a_session_on_its_device_passes():
    check_provider(Device("cpu"), ["CPUExecutionProvider"])
    check_provider(Device("cuda", 1), WITH_CUDA)


@pytest.mark.parametrize("providers", [["CPUExecutionProvider"], []])
def test_a_silent_fallback_is_found(providers):
    with pytest.raises(DeviceUnavailable, match="could not start CUDAExecutionProvider"):
        check_provider(Device("cuda"), providers)


@pytest.mark.parametrize(
    ("asked", "gpus", "got"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda:1", 2, "cuda:1")],
)
def test_tensorflow_takes_what_it_sees(asked, gpus, got):
    assert str(tensorflow_device(Device.parse(asked), gpus)) == got


@pytest.mark.parametrize(
    ("asked", "gpus", "kind", "said"),
    [
        ("cuda", 0, DeviceUnavailable, "no GPUs"),
        ("cuda:1", 1, DeviceUnavailable, "1 GPU;"),
        ("tensorrt", 1, ModelUnusable, "ONNX variant"),
    ],
)
def test_tensorflow_refuses_what_it_does_not_see(asked, gpus, kind, said):
    with pytest.raises(kind, match=said):
        tensorflow_device(Device.parse(asked), gpus)


def test_an_accelerator_is_used_where_the_probe_passes():
    probed = []
    assert usable_device(Device("auto"), WITH_CUDA, probed.append) == Device("cuda")
    assert usable_device(Device("tensorrt", 1), WITH_TENSORRT, probed.append) == Device("tensorrt", 1)
    assert probed == [Device("cuda"), Device("tensorrt", 1)]


def test_the_cpu_is_not_probed():
    assert usable_device(Device("auto"), CPU_ONLY, pytest.fail) == Device("cpu")
    assert usable_device(Device("cpu"), WITH_CUDA, pytest.fail) == Device("cpu")


def test_only_auto_ends_on_the_cpu_where_the_probe_fails(caplog):
    def probe(device):
        raise unusable(device, "no driver")

    assert usable_device(Device("auto"), WITH_CUDA, probe) == Device("cpu")
    assert "device auto goes on with the cpu" in caplog.text
    with pytest.raises(DeviceUnavailable, match="no driver"):
        usable_device(Device("cuda"), WITH_CUDA, probe)
