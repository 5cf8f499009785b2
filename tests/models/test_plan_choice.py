"""The choice follows the measured table: made-up tables, some of them those of real machines."""

import dataclasses
import math

import pytest

from service.models.planning.plan import LOOP_SECONDS_PER_IMAGE, Measured, Plan, choose

CAP = 1 / LOOP_SECONDS_PER_IMAGE
CORES = 2


def plan(engine="onnx", threads=1, instances=1, size=1, computed="exact"):
    return Plan(engine, "fp32", computed, threads, instances, size)


def row(images_per_second, milliseconds, **of):
    return Measured(plan(**of), milliseconds / 1e3, images_per_second)


def chosen(*table, target=0.05, cores=CORES):
    choice = choose(table, target, cores)
    assert choice is not None
    assert choice.table == table
    return choice.plan


def test_a_large_model_runs_in_small_batches_on_two_instances():
    """MobileNetV2 at 224 on two cores: batches gain nothing, two instances of one thread more than one of two."""
    table = [
        row(264, 3.8, size=1),
        row(185, 346, size=64),
        row(471, 8.5, threads=2, size=4),
        row(512, 3.9, instances=2, size=1),
        row(430, 75, instances=2, size=16),
    ]
    assert chosen(*table) == plan(instances=2, size=1)


def test_a_faster_engine_wins_and_one_beside_the_usual_must_give_a_tenth_more():
    assert chosen(row(300, 5), row(800, 2, engine="openvino")) == plan("openvino")
    assert chosen(row(300, 5), row(320, 5, engine="openvino")) == plan("onnx")
    assert chosen(row(300, 5, engine="openvino"), row(280, 5)) == plan("onnx")
    choice = choose([row(300, 5), row(320, 5, engine="openvino")], 0.05, CORES, usual="openvino")
    assert choice.plan == plan("openvino")


def test_batches_that_miss_the_target_are_not_chosen_however_fast():
    table = [row(1000, 8, size=8), row(2000, 16, size=32)]
    assert chosen(*table, target=0.02) == plan(size=8)
    assert chosen(*table, target=0.04) == plan(size=32)


def test_what_was_cut_short_by_others_is_no_measurement():
    cut = dataclasses.replace(row(9000, 0.9, instances=2, size=8), cut=True)
    whole = [row(2000, 0.5), row(5000, 1.6, size=8)]
    assert choose([cut, *whole], 0.05, CORES).plan == plan(instances=2, size=8)
    assert choose([cut, *whole], 0.05, CORES, disturbed=True).plan == plan(size=8)
    assert choose([cut], 0.05, CORES, disturbed=True) is None


def test_where_none_meets_the_target_it_is_the_lowest_latency_and_that_is_said():
    choice = choose([row(1000, 80, size=8), row(500, 60, size=1)], 0.05, CORES)
    assert choice.plan == plan(size=1)
    assert "none of 2 plans is within 50 ms" in choice.why


def test_nearly_equal_plans_go_to_the_fewest_cores_then_threads_then_the_least_cost():
    near = [row(1000, 2, instances=2), row(995, 2, threads=2), row(990, 4), row(992, 9, size=8)]
    assert chosen(*near) == plan(size=8)
    assert chosen(*near[:2]) == plan(instances=2)


def test_what_is_more_than_one_event_loop_hands_over_earns_no_cores():
    assert chosen(row(2 * CAP, 0.1, instances=2), row(1.1 * CAP, 0.1), cores=64) == plan()
    assert chosen(row(0.9 * CAP, 0.1, instances=2), row(0.6 * CAP, 0.1), cores=64) == plan(instances=2)


def test_a_model_faster_than_the_server_leaves_it_a_core():
    """A CNN of 173,000 parameters, 39 us a picture on one core: the server's own 50 us need the other one."""
    tiny = [row(25_600, 1.3, size=32), row(45_000, 1.4, instances=2, size=32), row(30_000, 1.1, threads=2, size=32)]
    assert chosen(*tiny) == plan(size=32)
    assert chosen(*tiny, cores=8) == plan(instances=2, size=32)


def test_of_two_batch_sizes_that_are_as_fast_a_tiny_model_takes_the_one_with_fewer_batches():
    assert chosen(row(28_600, 0.28, size=8), row(28_500, 0.56, size=16)) == plan(size=16)


def test_batches_cost_the_server_more_than_a_measurement_s_noise():
    """The same CNN, measured on a noisy machine, where the smaller batch came out 5% faster."""
    assert chosen(row(23_800, 0.34, size=8), row(22_700, 1.4, size=32)) == plan(size=32)


def test_a_model_slower_than_the_server_takes_all_cores():
    assert chosen(row(10_000, 3.2, size=32), row(18_000, 3.6, instances=2, size=32)) == plan(instances=2, size=32)


def test_cores_that_do_not_run_the_model_limit_nothing():
    assert chosen(row(15_000, 1), row(20_000, 2, instances=2), cores=math.inf) == plan(instances=2)


def test_what_was_refused_is_never_chosen():
    refused = Measured(plan("openvino", computed="bf16"), 1e-6, 1e6, refused="it is wrong")
    assert chosen(refused, row(10, 2)) == plan()
    assert choose([refused], 0.05, CORES) is None
    assert choose([], 0.05, CORES) is None


def test_the_reason_tells_the_figures():
    why = choose([row(1000, 2)], 0.05, CORES).why
    assert why == "measured 1000 images/s at a p99 of about 4 ms: what a server gives most by, of 1 plans within 50 ms"


def test_the_fit_is_the_line_through_the_chosen_plan_s_batches():
    table = [row(1, 2 + 0.5 * size, size=size) for size in (1, 2, 4, 8)]
    fit = choose([*table, row(0.1, 700, engine="openvino", size=16)], 0.05, CORES).fit
    assert fit.seconds(16) == pytest.approx(0.010)
    assert choose(table[:1], 0.05, CORES).fit is None
