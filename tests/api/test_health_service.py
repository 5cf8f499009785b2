"""grpc.health.v1 and its HTTP twins: what probes and load balancers go by."""

import asyncio
import dataclasses
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import numpy as np
import pytest
from bundles import encode, make_bundle
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc
from servers import held, refused, serving, settings, until

from service.api.health import LIVENESS, Health
from service.server import Server

UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)


async def check(channel: grpc.aio.Channel, name: str = "") -> int:
    return (await health_pb2_grpc.HealthStub(channel).Check(pb.HealthCheckRequest(service=name))).status


async def listed(channel: grpc.aio.Channel) -> dict[str, int]:
    reply = await health_pb2_grpc.HealthStub(channel).List(pb.HealthListRequest())
    return {name: status.status for name, status in reply.statuses.items()}


def watch(channel: grpc.aio.Channel, name: str = "") -> grpc.aio.UnaryStreamCall:
    return health_pb2_grpc.HealthStub(channel).Watch(pb.HealthCheckRequest(service=name))


async def http(server: Server, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}{path}") as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    return await asyncio.to_thread(get)


@asynccontextmanager
async def only_health() -> AsyncIterator[tuple[Health, grpc.aio.Channel]]:
    """The health service before anything has told it anything."""
    health, server = Health(), grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health, channel
    await server.stop(None)


async def test_nothing_is_serving_before_the_first_model_but_the_process_lives():
    async with only_health() as (health, channel):
        assert await listed(channel) == {"": NOT_SERVING, LIVENESS: SERVING}
        assert health.problem() == "starting"


async def test_a_ready_model_is_serving_and_with_it_the_server(asked):
    assert await listed(asked.channel) == {"": SERVING, "tiny": SERVING, LIVENESS: SERVING}
    assert await check(asked.channel) == SERVING
    assert await check(asked.channel, "tiny") == SERVING
    assert await http(asked.server, "/readyz") == (200, "ok\n")
    assert await http(asked.server, "/livez") == (200, "ok\n")


async def test_an_unknown_model_is_not_found_and_can_be_watched_for(asked):
    assert await refused(check(asked.channel, "dogs")) == ("NOT_FOUND", "no model 'dogs' is known here")
    watching = watch(asked.channel, "dogs")
    assert (await watching.read()).status == SERVICE_UNKNOWN
    watching.cancel()


async def test_the_server_is_not_serving_while_a_model_of_the_start_is_broken(tmp_path):
    make_bundle(tmp_path, "cats")
    make_bundle(tmp_path, "dogs", corrupt_golden=True)
    async with serving(tmp_path, ready=False) as (server, channel):
        await until(lambda: "golden samples" in (server.health.problem() or ""))
        assert await listed(channel) == {"": NOT_SERVING, "cats": SERVING, "dogs": NOT_SERVING, LIVENESS: SERVING}
        status, reason = await http(server, "/readyz")
        assert status == 503
        assert "cats 1 READY; dogs 1 UNAVAILABLE: " in reason
        assert (await http(server, "/livez"))[0] == 200


async def test_a_broken_model_that_comes_later_does_not_take_the_server_out(tmp_path):
    make_bundle(tmp_path, "cats")
    async with serving(tmp_path, poll_interval=0.01) as (server, channel):
        make_bundle(tmp_path, "dogs", corrupt_golden=True)
        await until(lambda: any(version.reason for version in server.models.models().get("dogs", ())))
        assert await listed(channel) == {"": SERVING, "cats": SERVING, "dogs": NOT_SERVING, LIVENESS: SERVING}


async def test_a_watcher_sees_the_server_start_drain_and_go(tmp_path, transport):
    """The stop ends the watch itself: it must not wait for its watchers until the time limit."""
    make_bundle(tmp_path)
    server = Server(settings(tmp_path, drain_timeout=1000, transport=transport))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        overall, model, alive = watch(channel), watch(channel, "tiny"), watch(channel, LIVENESS)
        await server.start()
        seen = [(await overall.read()).status]
        while seen[-1] != SERVING:
            seen.append((await overall.read()).status)
        assert set(seen[:-1]) <= {NOT_SERVING}
        assert (await alive.read()).status == SERVING
        while (await model.read()).status != SERVING:
            pass
        await server.stop()
        assert (await overall.read()).status == NOT_SERVING
        assert (await model.read()).status == NOT_SERVING
        for watching in (overall, model, alive):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await watching.read()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_draining_server_answers_what_it_accepted_but_says_not_ready(asked):
    picture = encode(np.zeros((8, 8, 3), np.uint8))
    with held(asked.server) as gate:
        accepted = asyncio.ensure_future(asked.classify(picture))
        await gate.reached()
        stopping = asyncio.ensure_future(asked.server.stop())
        await until(lambda: asked.server.health.problem() == "draining")
        assert await http(asked.server, "/readyz") == (503, "draining\n")
        assert (await http(asked.server, "/livez"))[0] == 200
        gate.open()
        assert len((await accepted).results) == 1
    await stopping


@pytest.mark.parametrize("options", [{"drain_delay": 1000}])
async def test_during_the_drain_delay_calls_are_still_taken(asked):
    stopping = asyncio.ensure_future(asked.server.stop())
    await until(lambda: asked.server.health.problem() == "draining")
    assert await listed(asked.channel) == {"": NOT_SERVING, "tiny": NOT_SERVING, LIVENESS: SERVING}
    assert len((await asked.classify(b"no picture")).results) == 1
    stopping.cancel()
    asked.server._settings = dataclasses.replace(asked.server._settings, drain_delay=0)


async def test_a_loop_that_is_stuck_is_not_alive(asked, monkeypatch):
    monkeypatch.setattr(asked.server, "_beat", float("-inf"))
    status, reason = await http(asked.server, "/livez")
    assert status == 503
    assert "the event loop has not moved" in reason
