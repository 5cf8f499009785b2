"""Callers that hang up, come too late, or send what is no gRPC: the server forgets them and serves the others."""

import asyncio
import socket

import grpc.aio
import numpy as np
import pytest
from bundles import encode
from servers import LOCALHOST, Asked, held, refused, until

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc

PICTURE = encode(np.zeros((8, 8, 3), np.uint8))
REQUEST = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=[PICTURE])])


async def answers(asked: Asked) -> bool:
    """Whether the server still does its work."""
    return len((await asked.classify(PICTURE)).results) == 1


async def test_a_client_that_hangs_up_frees_its_place_and_is_not_executed(asked):
    with held(asked.server) as gate:
        running = asyncio.ensure_future(asked.classify(PICTURE))
        await gate.reached()
        async with grpc.aio.insecure_channel(f"{LOCALHOST}:{asked.server.port}") as channel:
            gone = classifier_pb2_grpc.ClassifierStub(channel).Classify(REQUEST)
            await until(lambda: asked.of_tiny("convoy_pending_images") == 2)
        assert gone.cancelled()
        await until(lambda: asked.of_tiny("convoy_pending_images") == 1)
        gate.open()
        assert len((await running).results) == 1
        assert gate.rows == [1]
        assert await answers(asked)
        assert gate.rows == [1, 1]
    assert asked.of_tiny("convoy_pending_images") == 0
    assert (asked.calls("OK"), asked.calls("CANCELLED")) == (2, 1)


async def test_a_hundred_clients_that_hang_up_at_any_moment_leave_nothing_behind(asked):
    async def hang_up(turns: int) -> None:
        call = asked.stub.Classify(REQUEST)
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([asyncio.ensure_future(call.code())])

    assert await answers(asked)
    tasks = len(asyncio.all_tasks())
    await asyncio.gather(*(hang_up(turns) for turns in range(100)))
    assert await answers(asked)
    await until(lambda: asked.of_tiny("convoy_pending_images") == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    [version] = asked.server.models.models()["tiny"]
    await asyncio.wait_for(version.unused(), 10)


async def test_a_call_that_is_out_of_time_is_told_so_and_never_executed(asked):
    with held(asked.server) as gate:
        running = asyncio.ensure_future(asked.classify(PICTURE))
        await gate.reached()
        code, _ = await refused(asked.classify(PICTURE, seconds=0.4))
        assert code == "DEADLINE_EXCEEDED"
        await until(lambda: asked.of_tiny("convoy_pending_images") == 1)
        gate.open()
        await running
        assert await answers(asked)
        assert gate.rows == [1, 1]
    assert (asked.calls("OK"), asked.calls("CANCELLED")) == (2, 1)


async def test_a_call_that_is_out_of_time_while_it_runs_takes_no_one_with_it(asked):
    with held(asked.server) as gate:
        late = asyncio.ensure_future(refused(asked.classify(PICTURE, seconds=0.4)))
        await gate.reached()
        patient = asyncio.ensure_future(asked.classify(PICTURE))
        assert (await late)[0] == "DEADLINE_EXCEEDED"
        gate.open()
        assert len((await patient).results) == 1


@pytest.mark.parametrize("options", [{"max_pending": 3}])
async def test_a_full_queue_refuses_at_once_and_takes_calls_again_when_it_has_room(asked):
    with held(asked.server) as gate:
        accepted = [asyncio.ensure_future(asked.classify(PICTURE)) for _ in range(3)]
        await until(lambda: asked.of_tiny("convoy_pending_images") == 3)
        code, sentence = await refused(asked.classify(PICTURE))
        assert code == "RESOURCE_EXHAUSTED"
        assert "has 3 pictures pending and this call brings 1, over the limit of 3" in sentence
        gate.open()
        assert [len(each.results) for each in await asyncio.gather(*accepted)] == [1, 1, 1]
    assert await answers(asked)
    assert asked.calls("RESOURCE_EXHAUSTED") == 1


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\nHost: convoy\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bytes(5000), b""],
)
async def test_what_is_no_grpc_does_not_disturb(asked, noise):
    _, writer = await asyncio.open_connection(LOCALHOST, asked.server.port)
    writer.write(noise)
    assert await answers(asked)
    writer.close()
    assert await answers(asked)


async def test_connections_that_say_nothing_do_not_disturb(asked):
    silent = [socket.create_connection((LOCALHOST, asked.server.port)) for _ in range(50)]
    assert await answers(asked)
    for each in silent:
        each.close()
    assert await answers(asked)
