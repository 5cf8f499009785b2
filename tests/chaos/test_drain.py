"""A server that stops answers every call that it accepted, and says so in its own books."""

import asyncio
import dataclasses

import grpc.aio
import numpy as np
import pytest
from bundles import encode
from expected import scores
from servers import LOCALHOST, held, refused, serving, settings, until

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.errors import DeviceUnavailable
from service.server import Server

PICTURES = [encode(each) for each in np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)]
REQUEST = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=PICTURES)])


async def test_a_stop_under_load_loses_no_accepted_call(asked, tiny):
    """Sixteen callers in closed loops; what the server counts as answered is what they have received."""
    wanted = scores(tiny, PICTURES).max(axis=1)
    received, failures = 0, []
    enough = asyncio.Event()

    async def caller() -> None:
        nonlocal received
        async with grpc.aio.insecure_channel(f"{LOCALHOST}:{asked.server.port}") as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            while True:
                try:
                    response = await stub.Classify(REQUEST)
                except grpc.aio.AioRpcError as error:
                    failures.append((error.code().name, error.details()))
                    return
                best = [result.classifications[0].classes[0].score for result in response.results]
                np.testing.assert_allclose(best, wanted, atol=1e-6)
                received += 1
                if received == 100:
                    enough.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(caller())
        await enough.wait()
        await asked.server.stop()
    assert [code for code, _ in failures] == ["UNAVAILABLE"] * 16, failures
    assert asked.calls("OK") == received
    assert asked.calls("CANCELLED") == 0


async def test_calls_that_wait_in_the_queue_are_answered_too(asked):
    with held(asked.server) as gate:
        running = asyncio.ensure_future(asked.classify(*PICTURES))
        await gate.reached()
        waiting = [asyncio.ensure_future(asked.classify(*PICTURES)) for _ in range(20)]
        await until(lambda: asked.of_tiny("convoy_pending_images") == 63)
        stopping = asyncio.ensure_future(asked.server.stop())
        await until(lambda: asked.server.health.problem() == "draining")
        gate.open()
        assert all(len(each.results) == 3 for each in await asyncio.gather(running, *waiting))
    await stopping


async def test_a_new_call_during_the_stop_is_told_to_go_elsewhere(asked):
    with held(asked.server) as gate:
        running = asyncio.ensure_future(asked.classify(*PICTURES))
        await gate.reached()
        stopping = asyncio.ensure_future(asked.server.stop())
        await until(lambda: asked.server.health.problem() == "draining")
        for call in (asked.classify(*PICTURES), asked.stub.ListModels(pb.ListModelsRequest())):
            assert await refused(call) == ("UNAVAILABLE", "the server is stopping; ask another one")
        gate.open()
        assert len((await running).results) == 3
    await stopping
    assert asked.calls("UNAVAILABLE") == 1


async def test_a_call_that_outlasts_the_time_limit_is_given_up_and_the_stop_ends(repository):
    async with serving(repository, drain_timeout=0) as (server, channel):
        with held(server) as gate:
            call = asyncio.ensure_future(refused(classifier_pb2_grpc.ClassifierStub(channel).Classify(REQUEST)))
            await gate.reached()
            stopping = asyncio.ensure_future(server.stop())
            code, _ = await call
            assert code in {"UNAVAILABLE", "CANCELLED"}
            gate.open()
            await stopping
        assert server.models.models() == {}


async def test_a_stop_while_a_model_loads_ends(repository, monkeypatch):
    """The load goes on in its thread, and nobody waits for what it brings."""
    server = Server(settings(repository))
    loading = asyncio.Event()

    async def never(_path: object) -> None:
        loading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(server.models._loader, "load", never)
    await server.start()
    await loading.wait()
    await server.stop()
    assert server.models.models() == {}


@pytest.mark.parametrize("delay", [0, 1000])
async def test_a_start_up_mistake_ends_the_server_without_the_drain_delay(repository, delay):
    server = Server(dataclasses.replace(settings(repository), device="cuda:5", drain_delay=delay))
    with pytest.raises(DeviceUnavailable, match="device cuda:5"):
        await server.run()
