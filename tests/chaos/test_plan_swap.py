"""A version goes over to the measured plan while callers ask: no call fails, every answer is right, and the plan shows.

The measurement is the test's, so that it says when the better plan is found; runtimes, batcher and wire are real.
"""

import asyncio
import json
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pytest
from bundles import encode, make_bundle
from expected import scores
from servers import Asked, leased, serving, until

from protos.classifier.v1 import classifier_pb2 as pb
from service.models import tuning
from service.models.planning import planner
from service.models.planning.plan import NO_TIME, Measured, Plan
from service.models.version import ModelQuery

PICTURES = [encode(each) for each in np.random.default_rng(5).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)]
TINY = ModelQuery("tiny")
BETTER = Plan("onnx", "fp32", "exact", threads=1, instances=2, max_batch_size=4)
IMPOSSIBLE = Plan("onnx", "absent", "exact", threads=1, instances=1, max_batch_size=4)


class Profiler:
    """Stands for the profiler's process: answers when it is told to, with the table it is given."""

    def __init__(self, *table: Measured) -> None:
        self.table = list(table)
        self.asked = 0
        self.may = asyncio.Event()

    async def __call__(self, _question: object) -> list[Measured]:
        self.asked += 1
        await self.may.wait()
        return self.table


@pytest.fixture
def profiler(monkeypatch):
    made = Profiler(Measured(BETTER, 0.001, 900.0))
    monkeypatch.setattr(planner, "ask", made)
    made.busy = 0.0
    monkeypatch.setattr(planner.machine, "taken_by_others", lambda *_: made.busy)
    return made


@pytest.fixture
def options(tmp_path):
    return {"profile_seconds": 1.0, "state": tmp_path / "state", "poll_interval": 0.01}


async def info(asked: Asked) -> pb.GetModelResponse:
    return await asked.stub.GetModel(pb.GetModelRequest(model=pb.ModelSpec(name="tiny")))


def in_force(server, plan):
    with leased(server.models, TINY) as servable:
        return servable.choice.plan == plan


async def test_the_first_version_answers_at_once_and_changes_over_under_load(tmp_path, transport, options, profiler):
    bundle = make_bundle(tmp_path)
    best = scores(bundle, PICTURES).max(axis=1)
    async with serving(tmp_path, transport=transport, **options) as (server, channel):
        asked, over = Asked(server, channel), asyncio.Event()
        assert (await info(asked)).plan.why == "not measured yet"
        answered = 0

        async def caller() -> None:
            nonlocal answered
            while not over.is_set():
                response = await asked.classify(*PICTURES)
                told = [result.classifications[0].classes[0].score for result in response.results]
                assert told == pytest.approx(best, abs=1e-5)
                answered += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(caller())
            await until(lambda: answered > 20)
            profiler.may.set()
            await until(lambda: in_force(server, BETTER))
            after = answered
            await until(lambda: answered > after + 20)
            over.set()
        plan = (await info(asked)).plan
        assert (plan.settings.instances, plan.settings.max_batch_size) == (2, 4)
        assert [row.images_per_second for row in plan.candidates] == [900.0]
        assert plan.why.startswith("measured 900 images/s")
        labels = {"engine": "onnx", "variant": "fp32", "computed": "exact", "threads": "1"}
        assert asked.sample("convoy_plan_info", model="tiny", version="1", instances="2", max_batch_size="4", **labels)
        assert not asked.sample(
            "convoy_plan_info", model="tiny", version="1", instances="1", max_batch_size="32", **labels
        )
        assert asked.calls("OK") == answered


async def test_a_later_version_is_measured_before_it_replaces_the_one_that_serves(
    tmp_path, transport, options, profiler
):
    make_bundle(tmp_path, version=1)
    profiler.may.set()
    async with serving(tmp_path, transport=transport, **options) as (server, channel):
        asked = Asked(server, channel)
        await until(lambda: in_force(server, BETTER))
        profiler.may.clear()
        make_bundle(tmp_path, version=2, seed=2)
        await until(lambda: profiler.asked == 2)
        assert (await asked.classify(*PICTURES)).model.version == 1
        profiler.may.set()
        await until(lambda: (of := server.models.models()["tiny"])[-1].number == 2 and len(of) == 1)
        assert in_force(server, BETTER)


async def test_a_later_version_that_replaces_none_answers_at_once(tmp_path, options, profiler):
    make_bundle(tmp_path, version=1)
    profiler.may.set()
    async with serving(tmp_path, **options) as (server, channel):
        await until(lambda: in_force(server, BETTER))
        profiler.may.clear()
        shutil.rmtree(tmp_path / "tiny")
        await until(lambda: not server.models.models())
        make_bundle(tmp_path, version=2, seed=2)
        await until(lambda: server.models.ready("tiny") or profiler.asked == 2)
        assert (await Asked(server, channel).classify(*PICTURES)).model.version == 2


async def test_a_plan_that_is_known_from_before_is_opened_at_once(tmp_path, options, profiler):
    make_bundle(tmp_path)
    profiler.may.set()
    async with serving(tmp_path, **options) as (server, _):
        await until(lambda: in_force(server, BETTER))
        with leased(server.models, TINY) as servable:
            assert servable.batcher.max_batch_size == 4
    async with serving(tmp_path, **options) as (server, _):
        assert in_force(server, BETTER)
    assert profiler.asked == 1


async def test_workers_measure_nothing_and_take_a_plan_that_is_known(tmp_path, options, profiler):
    """The settings are those of a worker; what it shares with its siblings is not of interest here."""
    make_bundle(tmp_path)
    profiler.may.set()
    async with serving(tmp_path, workers=2, **options) as (server, channel):
        assert "a worker measures none" in (await info(Asked(server, channel))).plan.why
    assert profiler.asked == 0
    async with serving(tmp_path, **options) as (server, _):
        await until(lambda: in_force(server, BETTER))
    async with serving(tmp_path, workers=2, **options) as (server, _):
        assert in_force(server, BETTER)
    assert profiler.asked == 1


async def test_a_plan_from_half_a_table_is_used_and_measured_again_by_the_next_start(tmp_path, options, profiler):
    make_bundle(tmp_path)
    profiler.table.append(Measured(IMPOSSIBLE, refused=NO_TIME))
    profiler.may.set()
    for start in (1, 2):
        async with serving(tmp_path, **options) as (server, _):
            await until(lambda server=server: in_force(server, BETTER))
        assert profiler.asked == start


async def test_a_plan_from_a_busy_machine_is_used_at_once_and_measured_again_by_the_next_load(
    tmp_path, options, profiler
):
    make_bundle(tmp_path)
    profiler.may.set()
    for busy, asked in ((0.5, 1), (0.1, 2), (0.5, 2)):
        profiler.busy = busy
        async with serving(tmp_path, **options) as (server, channel):
            await until(lambda asked=asked: profiler.asked == asked)
            await until(lambda server=server: in_force(server, BETTER))
            why = (await info(Asked(server, channel))).plan.why
            await until(lambda server=server: not server._loader._tuning)
        assert why.endswith("others, served calls included, had 50% of the cores, so it is provisional") == (asked == 1)


async def test_a_provisional_plan_is_measured_again_when_the_machine_is_calm(tmp_path, options, profiler, monkeypatch):
    monkeypatch.setattr(tuning, "CALM_SECONDS", 0.01)
    make_bundle(tmp_path)
    profiler.may.set()
    profiler.busy = 0.5
    calmer = replace(BETTER, max_batch_size=8)
    async with serving(tmp_path, **options) as (server, channel):
        await until(lambda: in_force(server, BETTER) and not server._loader._tuning)
        profiler.table = [Measured(calmer, 0.001, 900.0)]
        assert profiler.asked == 1
        profiler.busy = 0.1
        await until(lambda: in_force(server, calmer) and not server._loader._tuning._waiting)
        assert "provisional" not in (await info(Asked(server, channel))).plan.why
    assert profiler.asked == 2
    [file] = (tmp_path / "state" / "plans").iterdir()
    assert json.loads(file.read_bytes())["choice"]["busy"] == 0.1


async def test_a_machine_that_is_calm_only_before_is_measured_on_a_few_times(tmp_path, options, profiler, monkeypatch):
    """And what was measured on a busier one is not served."""

    async def calm(_: float) -> bool:
        await asyncio.sleep(0)
        profiler.busy += 0.1
        profiler.table = [Measured(IMPOSSIBLE, 0.001, 9000.0)]
        return True

    monkeypatch.setattr(tuning.machine, "calm_for", calm)
    make_bundle(tmp_path)
    profiler.may.set()
    profiler.busy = 0.5
    async with serving(tmp_path, **options) as (server, _):
        await until(lambda: profiler.asked == 1 + tuning.TRIES and not server._loader._tuning._waiting)
        assert in_force(server, BETTER)
    assert profiler.asked == 1 + tuning.TRIES


async def test_what_waits_for_a_calm_machine_keeps_no_version(tmp_path, options, profiler, monkeypatch):
    monkeypatch.setattr(tuning, "CALM_SECONDS", 0.01)
    make_bundle(tmp_path, version=1)
    profiler.may.set()
    profiler.busy = 0.5
    async with serving(tmp_path, **options) as (server, _):
        await until(lambda: in_force(server, BETTER) and not server._loader._tuning)
        waiting = server._loader._tuning._waiting
        [of_first] = waiting
        with leased(server.models, TINY) as servable:
            alive = weakref.ref(servable)
        del servable
        make_bundle(tmp_path, version=2, seed=2)
        await until(lambda: alive() is None and of_first not in waiting)
        assert len(waiting) == 1  # of the new version, which was measured before it replaced the other
        assert profiler.asked == 2


async def test_a_busier_measurement_does_not_replace_a_calmer_one(tmp_path, options, profiler):
    make_bundle(tmp_path)
    profiler.may.set()
    for busy in (0.4, 0.9):
        profiler.busy = busy
        async with serving(tmp_path, **options) as (server, _):
            await until(lambda server=server: in_force(server, BETTER) and not server._loader._tuning)
    [file] = (tmp_path / "state" / "plans").iterdir()
    assert json.loads(file.read_bytes())["choice"]["busy"] == 0.4
    assert profiler.asked == 2


async def test_a_model_s_file_that_changes_is_followed_by_what_serves(tmp_path, transport, options):
    """Without a measurement, so that the file alone says what is run."""
    bundle = make_bundle(tmp_path)
    best = scores(bundle, PICTURES).max(axis=1)
    file = tmp_path / "tiny" / "convoy.toml"
    async with serving(tmp_path, transport=transport, **options | {"profile_seconds": 0}) as (server, channel):
        asked = Asked(server, channel)
        for text, instances, size in (
            ("[plan]\ninstances = 2\nmax_batch_size = 4\n", 2, 4),
            ("[plan]\nmax_batch_size = 8\n", 1, 8),
            ("", 1, 32),
        ):
            file.write_text(text)
            wanted = Plan("onnx", "fp32", "exact", threads=1, instances=instances, max_batch_size=size)
            await until(lambda wanted=wanted: in_force(server, wanted))
            told = (await info(asked)).plan.settings
            assert (told.instances, told.max_batch_size) == (instances, size)
            response = await asked.classify(*PICTURES)
            told = [result.classifications[0].classes[0].score for result in response.results]
            assert told == pytest.approx(best, abs=1e-5)
            assert response.model.version == 1


async def test_a_changed_file_is_measured_anew_in_the_background(tmp_path, options, profiler):
    make_bundle(tmp_path)
    async with serving(tmp_path, **options) as (server, channel):
        profiler.may.set()
        await until(lambda: in_force(server, BETTER))
        profiler.table = [Measured(replace(BETTER, max_batch_size=8), 0.001, 900.0)]
        (tmp_path / "tiny" / "convoy.toml").write_text("[plan]\nlatency_target = 20\n")
        await until(lambda: in_force(server, replace(BETTER, max_batch_size=8)))
        assert (await Asked(server, channel).classify(*PICTURES)).model.version == 1
    assert profiler.asked == 2


async def test_what_is_wrong_in_a_changed_plan_is_the_model_s_problem_until_it_is_mended(tmp_path, options):
    make_bundle(tmp_path)
    file = tmp_path / "tiny" / "convoy.toml"
    async with serving(tmp_path, **options | {"profile_seconds": 0}) as (server, channel):
        file.write_text("[plan]\nthreads = -1\n")
        await until(lambda: "threads is -1, it must be a whole number" in server.models.problem("tiny"))
        assert (await Asked(server, channel).classify(*PICTURES)).model.version == 1
        file.write_text("[plan]\nmax_batch_size = 4\n")
        await until(lambda: not server.models.problem("tiny"))
        await until(lambda: in_force(server, replace(BETTER, instances=1)))


async def test_a_version_that_failed_for_its_file_is_tried_again_when_that_is_mended(tmp_path, options):
    make_bundle(tmp_path)
    file = tmp_path / "tiny" / "convoy.toml"
    file.write_text('[plan]\nvariant = "int9"\n')
    async with serving(tmp_path, ready=False, **options | {"profile_seconds": 0}) as (server, _):
        await until(lambda: any(each.reason for each in server.models.models().get("tiny", ())))
        file.write_text("")
        await until(lambda: server.models.ready("tiny"))


async def test_a_plan_that_can_not_be_opened_gives_way_to_the_next_best(tmp_path, options, profiler, caplog):
    make_bundle(tmp_path)
    profiler.table.insert(0, Measured(IMPOSSIBLE, 0.0001, 9000.0))
    profiler.may.set()
    async with serving(tmp_path, **options) as (server, _):
        await until(lambda: in_force(server, BETTER))
        with leased(server.models, TINY) as servable:
            assert "there is no variant 'absent'" in servable.choice.table[0].refused
    assert "plan refused" in caplog.text


async def test_a_profiler_that_fails_leaves_the_version_as_it_is(tmp_path, options, monkeypatch, caplog):
    async def fail(_question: object) -> list[Measured]:
        raise OSError("no more processes")

    monkeypatch.setattr(planner, "ask", fail)
    make_bundle(tmp_path)
    async with serving(tmp_path, **options) as (server, channel):
        await until(lambda: "no plan could be measured" in caplog.text)
        asked = Asked(server, channel)
        assert (await asked.classify(*PICTURES)).model.version == 1
        assert (await info(asked)).plan.why == "no plan could be measured: no more processes"
    assert not (tmp_path / "state" / "plans").exists()


async def test_a_server_that_stops_gives_up_the_measurement(tmp_path, options, profiler):
    make_bundle(tmp_path)
    async with serving(tmp_path, **options):
        await until(lambda: profiler.asked == 1)
    assert not [task for task in asyncio.all_tasks() if "_tune" in repr(task.get_coro())]


async def test_a_bad_model_file_is_the_model_s_problem_and_nothing_is_loaded(tmp_path, options):
    make_bundle(tmp_path)
    (tmp_path / "tiny" / "convoy.toml").write_text("[plan]\nthreads = -1\n")
    async with serving(tmp_path, ready=False, **options) as (server, _):
        await until(lambda: "threads is -1" in server.models.problem("tiny"))
        assert server.models.models() == {"tiny": []}
        assert "threads is -1" in (server.health.problem() or "")
