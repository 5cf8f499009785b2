"""Convoy servers for tests: in the test's own event loop, or as a real process.

Both take free ports and never a fixed one. Used by the tests of the service and of whoever asks it.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.config import Settings
from service.models.registry import Registry
from service.models.version import ModelQuery, Servable
from service.runtimes.base import Array, Arrays, Runtime
from service.server import Server

CONVOY = str(Path(sys.executable).with_name("convoy"))
LOCALHOST = "127.0.0.1"
SERVING = health_pb2.HealthCheckResponse.SERVING


def settings(repository: Path, **others: Any) -> Settings:
    """The settings of a small server on free ports of this machine."""
    usual: dict[str, Any] = {
        "host": LOCALHOST,
        "port": 0,
        "metrics_port": 0,
        "device": "cpu",
        "threads": 1,
        "poll_interval": 0,
        "profile_seconds": 0,
        "drain_timeout": 10,
    }
    return Settings(repository=repository, **(usual | others))


@asynccontextmanager
async def serving(
    repository: Path, *, ready: bool = True, credentials: grpc.ChannelCredentials | None = None, **others: Any
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    """A server in this loop, READY unless told otherwise, with a channel to it; drained and stopped at the end.

    With `credentials` the channel is one with TLS.
    """
    server = Server(settings(repository, **others))
    await server.start()
    try:
        address = f"{LOCALHOST}:{server.port}"
        opened = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
        async with opened as channel:
            if ready:
                await healthy(channel)
            yield server, channel
    finally:
        await server.stop()


async def healthy(channel: grpc.aio.Channel, service: str = "", status: int = SERVING) -> None:
    """Returns when the server says this status of the service."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service))
    async for said in watch:
        if said.status == status:
            break
    watch.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; the test's own time limit is the limit.

    For a semaphore too: a thread that waits for what never comes would outlive that limit and hang the loop's end.
    """
    while not condition():  # noqa: ASYNC110 - conditions are of many kinds, and few have an event
        await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Asked:
    """A server in this loop, the channel to it, and short ways to ask it about model "tiny"."""

    server: Server
    channel: grpc.aio.Channel

    @property
    def stub(self) -> classifier_pb2_grpc.ClassifierStub:
        return classifier_pb2_grpc.ClassifierStub(self.channel)

    async def classify(self, *images: bytes, seconds: float | None = None, **others: Any) -> pb.ClassifyResponse:
        """One call with encoded pictures."""
        return await self.call(pb.Input(images=images), seconds=seconds, **others)

    async def call(self, *inputs: pb.Input, seconds: float | None = None, **others: Any) -> pb.ClassifyResponse:
        """One call with these inputs and this many seconds of time; `others` are fields of the request."""
        request = pb.ClassifyRequest(**({"model": pb.ModelSpec(name="tiny"), "inputs": inputs} | others))
        return await self.stub.Classify(request, timeout=seconds)

    def sample(self, name: str, **labels: str) -> float | None:
        """A metric of the server."""
        return self.server.metrics.registry.get_sample_value(name, labels)

    def of_tiny(self, name: str) -> float | None:
        """A metric of the served version."""
        return self.sample(name, model="tiny", version="1")

    def calls(self, code: str, method: str = "Classify") -> float:
        """How many calls the server has ended with a code."""
        return self.sample("convoy_call_seconds_count", method=method, code=code) or 0


async def refused(call: Awaitable[object]) -> tuple[str, str]:
    """The name of the code and the sentence with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return failure.value.code().name, failure.value.details() or ""


class Gate:
    """Stands before a served model's runtime and lets a batch through when it is told to."""

    def __init__(self, behind: Runtime) -> None:
        self.behind = behind
        self.rows: list[int] = []
        """How many rows each batch has that came here."""
        self._begun = threading.Semaphore(0)
        self._open = threading.Event()

    @property
    def info(self) -> Any:
        return self.behind.info

    def run(self, inputs: Arrays, **options: bool) -> dict[str, Array]:
        self.rows.append(len(next(iter(inputs.values()))))
        self._begun.release()
        self._open.wait()
        return self.behind.run(inputs, **options)

    def close(self) -> None:
        self.behind.close()

    async def reached(self) -> None:
        """Returns when the next batch stands before the gate."""
        await until(lambda: self._begun.acquire(blocking=False))

    def open(self) -> None:
        """Lets everything through from now on."""
        self._open.set()


@contextmanager
def leased(models: Registry, query: ModelQuery) -> Iterator[Servable]:
    """The servable that the query means, kept alive as a running call does."""
    version = models.find(query)
    try:
        yield version.acquire()
    finally:
        version.release()


@contextmanager
def held(server: Server, model: str = "tiny") -> Iterator[Gate]:
    """Holds every batch of a READY model until `open` or the end."""
    with leased(server.models, ModelQuery(model)) as servable:
        [instance] = servable.batcher._instances
    instance.runtime = gate = Gate(instance.runtime)
    try:
        yield gate
    finally:
        gate.open()
        instance.runtime = gate.behind


class ServeProcess:
    """`convoy serve` as a process; its log is read when it is waited for."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CONVOY_")}
        clean["CONVOY_PROFILE_SECONDS"] = "0"  # nor is anything written into the user's cache
        self._process = subprocess.Popen(
            [CONVOY, "serve", *arguments], stderr=subprocess.PIPE, env=clean | (environment or {}), text=True
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        """What it wrote to standard error so far."""

    def logged(self, event: str, **facts: object) -> dict[str, Any]:
        """Waits for the next such line of the JSON log. Fails where the process ends without it."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.items() >= {"event": event, **facts}.items():
                return entry
        raise AssertionError(f"no {event!r} {facts} in the log:\n{''.join(self.lines)}")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def ended(self) -> int:
        """Waits for the process's end and gives its exit code; `lines` then holds all that it wrote."""
        assert self._process.stderr is not None
        self.lines += self._process.stderr
        return self._process.wait()

    def kill(self) -> None:
        """The end, if it is not there yet."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def process(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[ServeProcess]:
    """`convoy serve` with these arguments, killed at the end if it still runs."""
    started = ServeProcess(*arguments, environment=environment)
    try:
        yield started
    finally:
        started.kill()


def arguments(repository: Path, *others: str) -> list[str]:
    """The flags of a small server on free ports of this machine."""
    usual = f"--host {LOCALHOST} --port 0 --metrics-port 0 --device cpu --threads 1 --log-format json"
    return ["--repository", str(repository), *usual.split(), *others]
