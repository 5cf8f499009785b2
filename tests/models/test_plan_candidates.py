"""What is measured: every engine, thread count and batch size that nobody pinned, and nothing less exact unasked."""

import pytest
from servers import settings

from bundle.manifest import Variant
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


def pins(folder, table, **flags):
    return Pins.of(settings(folder, **{"threads": 0, **flags}), table)


def test_the_model_s_file_pins_and_a_flag_goes_before_it(tmp_path):
    table = {"engine": "openvino", "threads": 2, "variant": "int8"}
    assert pins(tmp_path, table) == Pins("openvino", "int8", threads=2)
    assert pins(tmp_path, table, threads=1, runtime="onnx") == Pins("onnx", "int8", threads=1)


def test_the_latency_target_of_all_models_gives_way_to_that_of_one(tmp_path):
    assert pins(tmp_path, {"latency_target": 20}, latency_target=80.0).latency_target == 20
    assert pins(tmp_path, {}, latency_target=80.0).latency_target == 80


def test_a_model_without_a_file_is_free(tmp_path):
    assert pins(tmp_path, {}) == Pins()
