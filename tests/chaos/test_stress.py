"""Storms of deadlines and cancels, three times the load, pictures that kill and runtimes that hang, over the wire.

Every call gets exactly one answer: the right one, or the refusal that it deserves.
"""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio
import numpy as np
import pytest
from expected import scores_of_pixels
from servers import Asked, Gate, healthy, held, leased, refused, until

import convoy
from protos.classifier.v1 import classifier_pb2 as pb
from protos.rpc.v1.status_pb2 import RetryInfo, Status
from service.batching import instances
from service.batching.estimate import ENOUGH
from service.errors import ModelUnusable
from service.models import loader
from service.models.version import ModelQuery, Servable
from service.runtimes.base import Array, Arrays

PIXELS = np.random.default_rng(7).integers(0, 255, (64, 8, 8, 3), dtype=np.uint8)
POISON = 255  # the value of a poisonous picture's first pixel; no other picture has it
BATCH = pb.ClassifyRequest.BATCH


def tensor(*pixels: np.ndarray) -> pb.Input:
    return pb.Input(tensor=pb.Tensor(dtype="uint8", shape=[len(pixels), 8, 8, 3], data=np.stack(pixels).tobytes()))


def best(response: pb.ClassifyResponse) -> list[float]:
    return [result.classifications[0].classes[0].score for result in response.results]


@pytest.fixture(scope="session")
def right(tiny) -> list[float]:
    """The best score of each of the pictures."""
    return scores_of_pixels(tiny, PIXELS).max(axis=1).tolist()


@contextmanager
def serving_tiny(asked: Asked) -> Iterator[Servable]:
    with leased(asked.server.models, ModelQuery("tiny")) as servable:
        yield servable


def learn(asked: Asked, seconds: float) -> None:
    """As if batches had taken so long."""
    with serving_tiny(asked) as servable:
        for size in (1, 2, 4, servable.batcher.max_batch_size):
            for _ in range(ENOUGH):
                servable.batcher.estimate.observe(size, seconds)


async def end_of(call: Any) -> tuple[str, pb.ClassifyResponse | None]:
    """The name of the code with which a call ends, and its response where there is one."""
    try:
        return "OK", await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, None
    except asyncio.CancelledError:
        return "CANCELLED", None


async def nothing_is_left(asked: Asked) -> None:
    await until(lambda: asked.of_tiny("convoy_pending_images") == 0)
    assert len((await asked.call(tensor(PIXELS[0]))).results) == 1


async def test_a_storm_of_deadlines_gives_every_call_one_answer_and_the_right_one(asked, right):
    choice = random.Random(1)  # noqa: S311 - not a secret

    async def caller(number: int) -> tuple[str, bool]:
        patient = number % 4 == 0
        seconds = None if patient else choice.choice([0.0005, 0.002, 0.01, 0.05])
        code, response = await end_of(asked.call(tensor(PIXELS[number % 64]), seconds=seconds))
        if response is not None:
            assert best(response) == pytest.approx([right[number % 64]], abs=1e-5)
        return code, patient

    ends = [end for _ in range(4) for end in await asyncio.gather(*(caller(number) for number in range(150)))]
    assert {code for code, patient in ends if patient} == {"OK"}
    assert {code for code, _ in ends} <= {"OK", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}
    await nothing_is_left(asked)
    assert asked.calls("OK") > sum(code == "OK" for code, _ in ends)  # and the last one, and those that came too late
    assert asked.calls("INTERNAL") == 0


async def test_calls_that_can_not_be_back_in_time_are_refused_at_once_and_never_executed(asked, right):
    learn(asked, seconds=60.0)
    with held(asked.server) as gate:
        running = asyncio.ensure_future(asked.call(tensor(PIXELS[0])))
        await gate.reached()
        patient = [asyncio.ensure_future(asked.call(tensor(PIXELS[number]))) for number in range(1, 9)]
        await until(lambda: asked.of_tiny("convoy_pending_images") == 9)
        calls = [asked.call(tensor(PIXELS[0]), seconds=30) for _ in range(50)]
        for failure in await asyncio.gather(*calls, return_exceptions=True):
            assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "its answer would take about" in failure.details()
            assert retry_after(failure) == pytest.approx(60, abs=5)
        assert asked.of_tiny("convoy_pending_images") == 9
        gate.open()
        answered = await asyncio.gather(running, *patient)
        assert [best(each)[0] for each in answered] == pytest.approx(right[:9], abs=1e-5)
        assert sum(gate.rows) == 9
    assert (asked.calls("RESOURCE_EXHAUSTED"), asked.calls("OK")) == (50, 9)


def retry_after(error: grpc.aio.AioRpcError) -> float:
    """As the status details say, whose message and code must be the call's."""
    [details] = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    status = Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    [detail] = status.details
    assert detail.type_url == "type.googleapis.com/google.rpc.RetryInfo"
    return RetryInfo.FromString(detail.value).retry_delay.ToNanoseconds() / 1e9


async def test_a_storm_of_cancels_spares_their_rows_and_loses_no_one_else(asked, right):
    choice = random.Random(2)  # noqa: S311 - not a secret
    with held(asked.server) as gate:
        running = asyncio.ensure_future(asked.call(tensor(PIXELS[0])))
        await gate.reached()
        model = pb.ModelSpec(name="tiny")
        requests = [pb.ClassifyRequest(model=model, inputs=[tensor(PIXELS[n % 64])]) for n in range(400)]
        calls = [(number % 64, asked.stub.Classify(request)) for number, request in enumerate(requests)]
        await until(lambda: asked.of_tiny("convoy_pending_images") == 401)
        gone = choice.sample(range(400), 300)
        for number in gone:
            calls[number][1].cancel()
        await until(lambda: asked.of_tiny("convoy_pending_images") == 101)
        with serving_tiny(asked) as servable:
            waiting = servable.batcher._waiting._interactive
            assert waiting.rows == 100
            assert len(waiting.entries) <= 200
        gate.open()
        await running
        for number in set(range(400)) - set(gone):
            picture, call = calls[number]
            assert best(await call) == pytest.approx([right[picture]], abs=1e-5)
        assert sum(gate.rows) == 101
    assert (asked.calls("OK"), asked.calls("CANCELLED")) == (101, 300)
    await nothing_is_left(asked)


@pytest.mark.parametrize("options", [{"max_pending": 32, "max_batch_size": 4}])
async def test_three_times_the_load_is_bounded_and_who_is_refused_knows_when_to_come_again(asked, right):
    with held(asked.server) as gate:
        calls = [asyncio.ensure_future(asked.call(tensor(PIXELS[number % 64]))) for number in range(96)]
        await until(lambda: asked.calls("RESOURCE_EXHAUSTED") == 64)
        assert asked.of_tiny("convoy_pending_images") == 32
        gate.open()
        ends = await asyncio.gather(*calls, return_exceptions=True)
    refusals = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert len(refusals) == 64
    assert all(retry_after(each) > 0 for each in refusals)
    for number, end in enumerate(ends):
        if end not in refusals:
            assert best(end) == pytest.approx([right[number % 64]], abs=1e-5)
    await nothing_is_left(asked)


@pytest.mark.parametrize("options", [{"max_pending": 16, "max_batch_size": 4}])
async def test_callers_who_come_again_as_they_are_told_are_all_answered(asked, right):
    """Three times as many as there are places, each until it is answered."""

    async def caller(number: int) -> None:
        async with convoy.AsyncClient(f"127.0.0.1:{asked.server.port}") as client:
            while True:
                try:
                    answer = await client.classify(PIXELS[number], model="tiny")
                except convoy.Overloaded as error:
                    await asyncio.sleep(error.retry_after)
                else:
                    assert answer.best.score == pytest.approx(right[number], abs=1e-5)
                    return

    with held(asked.server) as gate:
        callers = [asyncio.ensure_future(caller(number)) for number in range(48)]
        await until(lambda: asked.calls("RESOURCE_EXHAUSTED") >= 32)
        gate.open()
        await asyncio.gather(*callers)
    await nothing_is_left(asked)
    assert asked.calls("OK") == 49


class Recording(Gate):
    """Keeps the first pixel value of every row of every batch, and throws where one is poison."""

    def __init__(self, behind: Any) -> None:
        super().__init__(behind)
        self.seen: list[list[int]] = []

    def run(self, inputs: Arrays) -> dict[str, Array]:
        first = inputs["image"][:, 0, 0, 0].tolist()
        self.seen.append(first)
        if POISON in first:
            raise ValueError("this picture is poison")
        return super().run(inputs)


@contextmanager
def recorded(asked: Asked) -> Iterator[Recording]:
    with held(asked.server) as gate, serving_tiny(asked) as servable:
        [instance] = servable.batcher._instances
        instance.runtime = recording = Recording(gate.behind)
        try:
            yield recording
        finally:
            recording.open()


async def test_a_poisonous_picture_fails_alone(asked, right):
    poison = PIXELS[0].copy()
    poison[0, 0, 0] = POISON
    with recorded(asked) as runtime:
        first = asyncio.ensure_future(asked.call(tensor(PIXELS[0])))
        await runtime.reached()
        calls = [asked.call(tensor(poison if number % 9 == 4 else PIXELS[number])) for number in range(40)]
        calls = [asyncio.ensure_future(call) for call in calls]
        await until(lambda: asked.of_tiny("convoy_pending_images") == 41)
        runtime.open()
        await first
        for number, call in enumerate(calls):
            if number % 9 == 4:
                code, sentence = await refused(call)
                assert (code, "this picture is poison" in sentence) == ("INTERNAL", True)
            else:
                assert best(await call) == pytest.approx([right[number]], abs=1e-5)
        assert max(map(len, runtime.seen)) > 1
    assert asked.calls("INTERNAL") == 4
    assert asked.of_tiny("convoy_batches_failed_total") >= 1
    assert asked.of_tiny("convoy_instances_lost_total") == 0
    await nothing_is_left(asked)


@pytest.mark.parametrize("options", [{"max_pending": 128, "max_batch_size": 4}])
async def test_people_overtake_jobs_and_jobs_leave_them_places(asked, right):
    ordered = PIXELS.copy()
    ordered[:, 0, 0, 0] = range(64)
    with recorded(asked) as runtime:
        first = asyncio.ensure_future(asked.call(tensor(ordered[63])))
        await runtime.reached()
        jobs = [asyncio.ensure_future(asked.call(tensor(ordered[n]), priority=BATCH)) for n in range(40)]
        await until(lambda: asked.of_tiny("convoy_pending_images") == 41)
        code, sentence = await refused(asked.call(tensor(*ordered[:24]), priority=BATCH))
        assert (code, "over the limit of 64" in sentence) == ("RESOURCE_EXHAUSTED", True)
        people = [asyncio.ensure_future(asked.call(tensor(ordered[n]))) for n in range(40, 63)]
        await until(lambda: asked.of_tiny("convoy_pending_images") == 64)
        runtime.open()
        await asyncio.gather(first, *jobs, *people)
    order = [number for batch in runtime.seen[1:] for number in batch]
    assert (set(order[:23]), set(order[23:])) == (set(range(40, 63)), set(range(40)))


async def test_a_priority_that_is_not_known_is_told(asked):
    code, sentence = await refused(asked.call(tensor(PIXELS[0]), priority=9))
    assert (code, sentence) == ("INVALID_ARGUMENT", "priority is 9; known are 0, 1, 2")


class Opening:
    """Stands before the opening of runtimes; `failure` is raised in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.failure: Exception | None = None
        self._behind = loader.open_runtime
        monkeypatch.setattr(loader, "open_runtime", self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self._behind(*arguments, **options)


@pytest.fixture
def opening(asked, monkeypatch) -> Iterator[Opening]:
    """For the runtimes that are opened once the server is READY."""
    made = Opening(monkeypatch)
    yield made
    made.gate.set()


async def shown(asked: Asked) -> tuple[str, str]:
    """The state of the one version, and why it is in it."""
    [model] = (await asked.stub.ListModels(pb.ListModelsRequest())).models
    [version] = model.versions
    return pb.VersionStatus.State.Name(version.state), version.reason


NOT_SERVING = 2
HANGS = {"batch_timeout": 1.0}


@pytest.mark.parametrize("options", [HANGS])
async def test_a_runtime_that_hangs_is_replaced_and_readiness_tells(asked, opening, right):
    with held(asked.server) as gate:
        running = [asyncio.ensure_future(refused(asked.call(tensor(PIXELS[0]))))]
        await gate.reached()
        waiting = [asyncio.ensure_future(refused(asked.call(tensor(PIXELS[n])))) for n in range(5)]
        [(code, sentence)] = await asyncio.gather(*running)
        assert (code, "did not finish a batch in 1 s (--batch-timeout)" in sentence) == ("INTERNAL", True)
        assert [code for code, _ in await asyncio.gather(*waiting)] == ["UNAVAILABLE"] * 5
        await healthy(asked.channel, "tiny", NOT_SERVING)
        await healthy(asked.channel, "", NOT_SERVING)
        state, reason = await shown(asked)
        assert (state, reason.endswith("a new one is being opened")) == ("LOADING", True)
        assert reason in (asked.server.health.problem() or "")
        code, sentence = await refused(asked.call(tensor(PIXELS[0])))
        assert (code, reason in sentence) == ("UNAVAILABLE", True)
        opening.gate.set()
        await healthy(asked.channel)
        await healthy(asked.channel, "tiny")
        assert await shown(asked) == ("READY", "")
        calls = [asked.call(tensor(PIXELS[number])) for number in range(20)]
        assert [best(each)[0] for each in await asyncio.gather(*calls)] == pytest.approx(right[:20], abs=1e-5)
    assert asked.of_tiny("convoy_instances_lost_total") == 1
    await nothing_is_left(asked)


@pytest.mark.parametrize("options", [HANGS])
async def test_a_runtime_that_can_not_be_opened_again_makes_its_version_unavailable(asked, opening, right, monkeypatch):
    monkeypatch.setattr(instances, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(instances, "LAST_RETRY_SECONDS", 0.01)
    opening.failure = ModelUnusable("the device is gone")
    opening.gate.set()
    with serving_tiny(asked) as servable:  # it was made before the constants were changed
        servable.batcher._instances._retry_seconds = 0.01
    with held(asked.server):
        code, _ = await refused(asked.call(tensor(PIXELS[0])))
        assert code == "INTERNAL"
        while (await shown(asked))[0] != "UNAVAILABLE":  # noqa: ASYNC110 - the server is asked over the wire
            await asyncio.sleep(0)
        assert "the device is gone" in (await shown(asked))[1]
        opening.failure = None
        await healthy(asked.channel)
        assert best(await asked.call(tensor(PIXELS[1]))) == pytest.approx([right[1]], abs=1e-5)


@pytest.mark.parametrize("options", [HANGS])
async def test_a_server_whose_only_runtime_hangs_still_stops(asked, opening):
    with held(asked.server) as gate:
        hanging = asyncio.ensure_future(refused(asked.call(tensor(PIXELS[0]))))
        await gate.reached()
        stopping = asyncio.ensure_future(asked.server.stop())
        assert (await hanging)[0] == "INTERNAL"
        await stopping
