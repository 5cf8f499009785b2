"""Liveness where runtimes can't be brought back in this process, as after a CUDA error that stays: a restart helps."""

import asyncio
import dataclasses
from typing import Any

import numpy as np
import pytest
from bundles import encode, make_bundle
from grpc_health.v1 import health_pb2, health_pb2_grpc
from servers import SERVING, Asked, healthy, refused, serving, until

from protos.classifier.v1 import classifier_pb2 as pb
from service.api.health import LIVENESS
from service.batching import instances
from service.batching.instance import SUSPICIOUS
from service.errors import ModelUnusable, RuntimeFailed
from service.models import loader
from service.models.version import State
from service.runtimes.base import Array, Arrays, Runtime, RuntimeInfo
from service.runtimes.opening import open_runtime

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ILLEGAL = "CUDA failure 700: an illegal memory access was encountered"


class Accelerator:
    """Runs models on the CPU, says it is a GPU, and fails everything of the models that are `broken`."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.broken: set[str] = set()

    def open(self, bundle: Any, **options: Any) -> Runtime:
        if bundle.name in self.broken:
            raise ModelUnusable(ILLEGAL)
        return OnIt(self, bundle.name, open_runtime(bundle, **options))


class OnIt:
    def __init__(self, accelerator: Accelerator, name: str, behind: Runtime) -> None:
        self._accelerator, self._name, self._behind = accelerator, name, behind

    @property
    def info(self) -> RuntimeInfo:
        return dataclasses.replace(self._behind.info, device=self._accelerator.device)

    def run(self, inputs: Arrays, **options: bool) -> dict[str, Array]:
        if self._name in self._accelerator.broken:
            raise RuntimeFailed(ILLEGAL)
        return self._behind.run(inputs, **options)

    def close(self) -> None:
        self._behind.close()


@pytest.fixture
def opened(monkeypatch, request) -> Accelerator:
    monkeypatch.setattr(instances, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(instances, "LAST_RETRY_SECONDS", 0.01)
    accelerator = Accelerator(getattr(request, "param", "cuda:0"))
    monkeypatch.setattr(loader, "open_runtime", accelerator.open)
    return accelerator


async def breaks(asked: Asked, name: str) -> None:
    """Calls that all fail, until the runtime has to prove itself."""
    picture = pb.Input(images=[encode(np.zeros((8, 8, 3), np.uint8))])
    for _ in range(SUSPICIOUS):
        assert await refused(asked.call(picture, model=pb.ModelSpec(name=name))) == ("INTERNAL", ILLEGAL)


async def alive(asked: Asked) -> tuple[int, str | None]:
    """What the probes of gRPC and of HTTP say."""
    stub = health_pb2_grpc.HealthStub(asked.channel)
    said = await stub.Check(health_pb2.HealthCheckRequest(service=LIVENESS))
    return said.status, asked.server._dead()


def states(asked: Asked) -> dict[str, State]:
    return {name: of[0].state for name, of in asked.server.models.models().items()}


@pytest.mark.parametrize("opened", ["cuda:0", "cpu"], indirect=True)
async def test_liveness_fails_when_all_that_served_is_lost_and_returns_with_it(tmp_path, opened):
    make_bundle(tmp_path, "tiny")
    make_bundle(tmp_path, "unproved", corrupt_golden=True)  # was never READY, so it has no say
    async with serving(tmp_path, ready=False) as (server, channel):
        asked = Asked(server, channel)
        await healthy(channel, "tiny")
        opened.broken = {"tiny"}
        await breaks(asked, "tiny")
        await healthy(channel, LIVENESS, NOT_SERVING)
        assert await alive(asked) == (NOT_SERVING, server.health.lost())
        assert server.health.lost().startswith("tiny 1: its runtime was lost and can't be opened again: ")
        assert ILLEGAL in server.health.lost()
        opened.broken = set()
        await healthy(channel, LIVENESS)
        assert await alive(asked) == (SERVING, None)
        assert states(asked)["tiny"] is State.READY


async def test_what_stands_idle_on_a_broken_accelerator_is_found_to_be_broken(tmp_path, opened):
    for name in ("asked", "idle"):
        make_bundle(tmp_path, name)
    async with serving(tmp_path) as (server, channel):
        asked = Asked(server, channel)
        opened.broken = {"asked", "idle"}
        await breaks(asked, "asked")
        await healthy(channel, LIVENESS, NOT_SERVING)
        assert "idle 1: " in server.health.lost()


async def test_while_another_model_answers_the_process_lives(tmp_path, opened):
    for name in ("sound", "unsound"):
        make_bundle(tmp_path, name)
    async with serving(tmp_path) as (server, channel):
        asked = Asked(server, channel)
        lost = server.models.models()["unsound"][0].servable.batcher
        opened.broken = {"unsound"}
        await breaks(asked, "unsound")
        await until(lambda: lost.lost)
        await healthy(channel, "sound")  # it has passed the proof that it was asked for
        assert await alive(asked) == (SERVING, None)
        assert states(asked) == {"sound": State.READY, "unsound": State.UNAVAILABLE}


async def test_a_drain_is_not_cut_short(tmp_path, opened):
    make_bundle(tmp_path)
    async with serving(tmp_path, drain_delay=1000) as (server, channel):
        asked = Asked(server, channel)
        opened.broken = {"tiny"}
        await breaks(asked, "tiny")
        await healthy(channel, LIVENESS, NOT_SERVING)
        stopping = asyncio.ensure_future(server.stop())
        await healthy(channel, LIVENESS)
        assert await alive(asked) == (SERVING, None)
        stopping.cancel()
        server._settings = dataclasses.replace(server._settings, drain_delay=0)
