"""What is measured: every engine, thread count and batch size that nobody pinned, and nothing less exact unasked."""

import pytest
from servers import settings

from bundle.manifest import Variant
from service.errors import ModelUnusable
from service.models.planning.candidates import Pins, candidates, default_plan

FP32 = Variant(name="fp32", format="onnx", path="model.onnx")
INT8 = Variant(name="int8", format="onnx", path="model.int8.onnx", precision="int8")
KERAS = Variant(name="keras", format="saved_model", path=".")
ALL = (KERAS, FP32, INT8)
ENGINES = ("onnx", "openvino", "tensorflow")


def setups(variants=ALL, pins=Pins(), precision="exact", *, cores=2, on_cpu=True, installed=ENGINES):  # noqa: B008
    return candidates(variants, pins, precision, cores=cores, on_cpu=on_cpu, installed=installed)


def kinds(found):
    return {(each.engine, each.variant, each.computed) for each in found}


def test_exact_tries_the_engines_on_the_variant_that_would_be_served_anyway():
    assert kinds(setups()) == {("onnx", "fp32", "exact"), ("openvino", "fp32", "exact")}


def test_auto_precision_tries_int8_and_bf16_too():
    exact = kinds(setups())
    int8 = {("onnx", "int8", "exact"), ("openvino", "int8", "exact")}
    assert kinds(setups(precision="auto")) == exact | int8 | {("openvino", "fp32", "bf16")}


def test_an_engine_that_is_not_installed_is_not_tried():
    assert kinds(setups(precision="auto", installed=("onnx",))) == {
        ("onnx", "fp32", "exact"),
        ("onnx", "int8", "exact"),
    }


def test_a_saved_model_is_tried_only_where_there_is_no_onnx():
    assert kinds(setups((KERAS,))) == {("tensorflow", "keras", "exact")}


def test_a_pinned_variant_is_the_only_one_whatever_its_precision():
    assert kinds(setups(pins=Pins(variant="int8"))) == {("onnx", "int8", "exact"), ("openvino", "int8", "exact")}


def test_a_pinned_engine_is_the_only_one():
    assert kinds(setups(pins=Pins(engine="openvino"))) == {("openvino", "fp32", "exact")}


@pytest.mark.parametrize(
    ("cores", "wanted"),
    [
        (1, [(1, (1,))]),
        (2, [(1, (2, 1)), (2, (1,))]),
        (6, [(1, (6, 4, 2, 1)), (2, (3, 2, 1)), (4, (1,)), (6, (1,))]),
        (64, [(4, (16, 8, 4, 2, 1)), (8, (8, 4, 2, 1)), (16, (4, 2, 1)), (32, (2, 1)), (64, (1,))]),
    ],
)
def test_threads_times_instances_stay_within_the_cores(cores, wanted):
    assert [(each.threads, each.instances) for each in setups((FP32,), cores=cores, installed=("onnx",))] == wanted


def test_pinned_threads_do_not_make_more_instances_than_memory_is_good_for():
    [only] = setups((FP32,), Pins(threads=1), cores=64, installed=("onnx",))
    assert only.instances == (16, 8, 4, 2, 1)


def test_a_gpu_is_tried_with_two_instances_and_without_the_cpu_s_engine():
    found = setups(on_cpu=False)
    assert kinds(found) == {("onnx", "fp32", "exact")}
    assert [(each.threads, each.instances) for each in found] == [(1, (2, 1))]


def test_pinned_numbers_leave_no_choice():
    [only] = setups((FP32,), Pins(threads=3, instances=2, max_batch_size=5), installed=("onnx",))
    assert (only.threads, only.instances, only.batch_sizes) == (3, (2,), (5,))


def test_without_a_measurement_it_is_one_instance_on_all_cores():
    usual = default_plan(ALL, Pins(threads=2))
    assert (usual.engine, usual.variant, usual.threads, usual.instances, usual.max_batch_size) == (
        "onnx",
        "fp32",
        2,
        1,
        32,
    )


def pins(folder, text, **flags):
    (folder / "convoy.toml").write_text(text)
    return Pins.of(settings(folder, **{"threads": 0, **flags}), folder)


def test_the_model_s_file_pins_and_a_flag_goes_before_it(tmp_path):
    text = '[plan]\nengine = "openvino"\nthreads = 2\nvariant = "int8"\n[labels]\nstable = 1\n'
    assert pins(tmp_path, text) == Pins("openvino", "int8", threads=2)
    assert pins(tmp_path, text, threads=1, runtime="onnx") == Pins("onnx", "int8", threads=1)


def test_the_latency_target_of_all_models_gives_way_to_that_of_one(tmp_path):
    assert pins(tmp_path, "[plan]\nlatency_target = 20", latency_target=80.0).latency_target == 20
    assert pins(tmp_path, "", latency_target=80.0).latency_target == 80


def test_a_model_without_a_file_is_free(tmp_path):
    assert Pins.of(settings(tmp_path, threads=0), tmp_path) == Pins()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[plan", "is not TOML"),
        ("plan = 3", "plan must be a table"),
        (
            "[plan]\nthread = 1",
            "sets 'thread'; it may set engine, variant, threads, instances, max_batch_size, latency_target",
        ),
        ("[plan]\nthreads = 0", "threads is 0, it must be a whole number of at least 1"),
        ("[plan]\nthreads = true", "threads is True, it must be a whole number"),
        ('[plan]\ninstances = "2"', "instances is '2', it must be a whole number"),
        ("[plan]\nlatency_target = 0", "latency_target is 0, it must be milliseconds from 0.1"),
        ("[plan]\nlatency_target = true", "latency_target is True, it must be milliseconds"),
        ("[plan]\nvariant = 8", "variant is 8, it must be a text"),
        ('[plan]\nengine = "tvm"', "engine is 'tvm'; it is one of onnx, openvino, tensorflow"),
    ],
)
def test_a_bad_file_is_said_in_one_sentence(tmp_path, text, sentence):
    with pytest.raises(ModelUnusable) as refused:
        pins(tmp_path, text)
    assert sentence in str(refused.value)
    assert str(tmp_path / "convoy.toml") in str(refused.value)
