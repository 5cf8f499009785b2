"""A server that stops answers every call that it accepted, and says so in its own books."""

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc.aio
import numpy as np
import pytest
from bundles import encode, make_bundle
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


async def test_a_reader_that_takes_its_time_still_gets_its_answer_whole(tmp_path, transport):
    """The answer is larger than the first window of HTTP/2, so most of it is still with the server when it stops."""
    make_bundle(tmp_path, labels=tuple(f"a label with the number {number}" for number in range(100)))
    rows = pb.Tensor(dtype="uint8", shape=(100, 8, 8, 3), data=bytes(100 * 192))
    request = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(tensor=rows)], top_k=100)
    ended = {"method": "Classify", "code": "OK"}
    async with (
        serving(tmp_path, transport=transport, drain_timeout=1000) as (server, _),
        link_to(server.port) as (port, flows),
        grpc.aio.insecure_channel(f"{LOCALHOST}:{port}") as channel,
    ):
        await channel.channel_ready()
        flows.clear()
        call = classifier_pb2_grpc.ClassifierStub(channel).Classify(request)
        answer = asyncio.ensure_future(call.code())
        await until(lambda: server.metrics.registry.get_sample_value("convoy_call_seconds_count", ended) == 1)
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.wait([stopping], timeout=0.3)  # what closes too early does it now
        flows.set()
        assert await answer is grpc.StatusCode.OK
        assert len((await call).results) == 100
        await stopping


@asynccontextmanager
async def link_to(port: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A port that leads to the other one; nothing comes back while the event is clear."""
    flows, always = asyncio.Event(), asyncio.Event()
    flows.set()
    always.set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await reader.read(4096):
                await may.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that the rest waits with the server
        far.setblocking(False)
        await asyncio.get_running_loop().sock_connect(far, (LOCALHOST, port))
        back, forth = await asyncio.open_connection(sock=far, limit=4096)
        await asyncio.gather(forward(reader, forth, always), forward(back, writer, flows))

    async with await asyncio.start_server(connect, LOCALHOST, 0) as listening:
        yield listening.sockets[0].getsockname()[1], flows


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

    async def never(*_: object, **_others: object) -> None:
        loading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(server.models._loader, "load", never)
    await server.start()
    await loading.wait()
    await server.stop()
    assert server.models.models() == {}


@pytest.mark.parametrize("delay", [0, 1000])
async def test_a_start_up_mistake_ends_the_server_without_the_drain_delay(repository, delay, monkeypatch):
    """A device that shows to be missing only when a model is opened on it, as one without its driver does."""
    monkeypatch.setattr("service.server.check_device", lambda *_: None)
    server = Server(dataclasses.replace(settings(repository), device="cuda:5", drain_delay=delay))
    with pytest.raises(DeviceUnavailable, match="device cuda:5"):
        await server.run()
