"""Real measurements in little time: of a real model, in this process and in the profiler's own."""

import dataclasses
import os

import msgspec
import numpy as np
import pytest
from bundles import make_bundle

from bundle.manifest import Variant
from bundle.publishing import publish, staging
from service.errors import ModelUnusable, RuntimeFailed
from service.models.planning import profiling
from service.models.planning.candidates import Setup
from service.models.planning.plan import Measured, choose
from service.models.planning.process import Question, ask
from service.models.planning.profiling import profile, timed
from service.runtimes.devices import Device

SETUP = Setup("onnx", "fp32", "exact", 1, (2, 1), (1, 4))
WRONG = Setup("onnx", "wrong", "exact", 1, (1,), (1, 4))
CPU = Device("cpu")
AMPLE = 10.0  # the tiny model needs far less, for the number of runs has a limit too


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A version whose variant "wrong" has the weights of another model."""
    repository = tmp_path_factory.mktemp("repository")
    right, other = make_bundle(repository, "right", seed=1), make_bundle(repository, "other", seed=2)
    with staging(repository, "both") as staged:
        for name in right.manifest.files:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes((right.path / name).read_bytes())
        (staged / "wrong.onnx").write_bytes((other.path / "model.onnx").read_bytes())
        variants = (*right.manifest.variants, Variant(name="wrong", format="onnx", path="wrong.onnx"))
        return publish(staged, msgspec.structs.replace(right.manifest, variants=variants), repository, "both")


def test_every_plan_has_a_row_and_the_choice_is_one_of_them(bundle):
    table = list(profile(bundle, [SETUP], CPU, target=1.0, seconds=AMPLE))
    assert {(row.plan.instances, row.plan.max_batch_size) for row in table} == {(2, 1), (2, 4), (1, 1), (1, 4)}
    assert all(row.seconds > 0 and row.images_per_second > 0 and not row.refused for row in table)
    assert choose(table, 1.0, 2).plan in [row.plan for row in table]


def test_a_variant_that_does_not_reproduce_its_golden_samples_is_refused_and_never_timed(bundle):
    right, wrong = SETUP, WRONG
    table = list(profile(bundle, [wrong, right, wrong], CPU, target=1.0, seconds=AMPLE))
    refused = [row for row in table if row.refused]
    assert [(row.plan.variant, row.images_per_second) for row in refused] == [("wrong", 0), ("wrong", 0)]
    assert "does not reproduce its 4 golden samples" in refused[0].refused
    assert choose(table, 1.0, 2).plan.variant == "fp32"


def test_larger_batches_are_not_tried_past_the_target(bundle):
    table = list(profile(bundle, [SETUP], CPU, target=0.0, seconds=0.1))
    assert {row.plan.max_batch_size for row in table if not row.refused} == {1}
    assert untried(table) == dict.fromkeys([(2, 4), (1, 4)], "the latency target was passed, at batches of 1")


def untried(table):
    return {(row.plan.instances, row.plan.max_batch_size): row.refused for row in table if row.refused}


def test_batches_that_had_no_time_left_are_told_by_those_before(bundle, monkeypatch):
    """Two runs of the smallest batch take longer than all the time that there is."""
    monkeypatch.setattr(profiling, "_LEAST_RUNS", 400)
    table = list(profile(bundle, [SETUP], CPU, target=1.0, seconds=0.001))
    measured = [row for row in table if not row.refused]
    assert {(row.plan.instances, row.plan.max_batch_size, row.cut) for row in measured} == {(2, 1, True), (1, 1, True)}
    assert untried(table) == dict.fromkeys([(2, 4), (1, 4)], "its share of the time was over, at batches of 1")
    assert choose(table, 1.0, 2).complete


def test_batches_past_the_best_are_not_tried_and_that_is_said(bundle, monkeypatch):
    """Of a runtime in which every row of a batch costs more than one before it."""
    slower = dataclasses.replace(SETUP, instances=(1,), batch_sizes=(1, 2, 4, 8))
    monkeypatch.setattr(profiling, "timed", lambda _, batch, __: (1e-3, 100.0 / len(batch["image"])))
    table = list(profile(bundle, [slower], CPU, target=1.0, seconds=AMPLE))
    assert untried(table) == {(1, 8): "its best was passed, at batches of 4"}


def test_without_time_nothing_is_measured_and_that_is_said(bundle):
    [row] = profile(bundle, [SETUP], CPU, target=1.0, seconds=0.0)
    assert row.refused == "there was no time left to measure it"
    assert not choose([row, Measured(dataclasses.replace(row.plan, max_batch_size=1), 0.001, 1.0)], 1.0, 2).complete


def test_all_instances_run_side_by_side():
    """Neither run ends before the other has begun, so one after the other would never end."""
    import threading

    both = threading.Barrier(2)
    seconds, per_second = timed([lambda _: both.wait(), lambda _: both.wait()], {"x": np.zeros((3, 1))}, 0.0)
    assert seconds > 0
    assert per_second > 0


def test_a_run_that_fails_is_raised_and_stops_the_others():
    def fail(_):
        raise RuntimeFailed("no")

    with pytest.raises(RuntimeFailed, match="no"):
        timed([fail, lambda _: None], {"x": np.zeros((1, 1))}, 0.1)


async def test_the_profiler_s_process_gives_the_same_rows(bundle):
    table = await ask(Question(str(bundle.path), (SETUP, WRONG), "cpu", 1.0, AMPLE))
    assert [bool(row.refused) for row in table] == [False] * 4 + [True]
    assert {row.plan.instances for row in table if not row.refused} == {1, 2}


async def test_an_engine_that_ends_the_profiler_costs_only_what_was_not_measured_yet(bundle, tmp_path, monkeypatch):
    (tmp_path / "openvino.py").write_text("import os\nos._exit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    fatal = dataclasses.replace(SETUP, engine="openvino")
    table = await ask(Question(str(bundle.path), (SETUP, fatal), "cpu", 1.0, AMPLE))
    assert [row.plan.engine for row in table if not row.refused] == ["onnx"] * 4
    assert [row.refused for row in table if row.refused] == ["the profiler broke: it ended with 3"]
    assert not choose(table, 1.0, 2).complete


async def test_a_profiler_that_breaks_is_told_in_its_last_words(tmp_path):
    with pytest.raises(ModelUnusable, match=r"the profiler measured nothing: .*BundleNotFound"):
        await ask(Question(str(tmp_path), (SETUP,), "cpu", 1.0, AMPLE))
