"""Workers whose runtimes are lost and can't be brought back in their process: only that process is replaced."""

import asyncio
import dataclasses
import inspect
import os
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from bundles import encode
from servers import LOCALHOST, settings, until

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.workers import supervisor
from service.workers.supervisor import Supervisor

PICTURE = encode(np.zeros((8, 8, 3), np.uint8))
REQUEST = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=[PICTURE])])
ILLEGAL = "CUDA failure 700: an illegal memory access was encountered"
# Of its own, so that every channel makes a connection and the kernel chooses a worker for it.
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


def worker(folder: str, illegal: str) -> None:
    """Runs in the worker's process: its runtimes fail, and can't be opened, once a file has its number for a name."""
    from service.batching import instances
    from service.errors import ModelUnusable, RuntimeFailed
    from service.models import loader
    from service.workers.worker import main

    opening, mine = loader.open_runtime, Path(folder, str(os.getpid()))

    class Breakable:
        def __init__(self, behind: Any) -> None:
            self.behind, self.info, self.close = behind, behind.info, behind.close

        def run(self, inputs: Any, **options: bool) -> Any:
            if mine.exists():
                raise RuntimeFailed(illegal)
            return self.behind.run(inputs, **options)

    def open_runtime(*bundle: Any, **options: Any) -> Any:
        if mine.exists():
            raise ModelUnusable(illegal)
        return Breakable(opening(*bundle, **options))

    loader.open_runtime = open_runtime
    instances.FIRST_RETRY_SECONDS = instances.LAST_RETRY_SECONDS = 0.01
    main()


@pytest.fixture
def parent(repository, tmp_path, transport, monkeypatch) -> Supervisor:
    """A parent of two whose workers break when they are told to."""
    code = (
        "import os\nfrom pathlib import Path\nfrom typing import Any\n"
        f"{inspect.getsource(worker)}\nworker({str(tmp_path)!r}, {ILLEGAL!r})"
    )
    monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-c", code))
    return Supervisor(dataclasses.replace(settings(repository), workers=2, transport=transport))


async def ask(parent: Supervisor) -> str:
    """How a call by a connection of its own ends."""
    async with grpc.aio.insecure_channel(f"{LOCALHOST}:{parent.port}", options=OPTIONS) as channel:
        try:
            await classifier_pb2_grpc.ClassifierStub(channel).Classify(REQUEST)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"


def restarts(parent: Supervisor) -> list[float]:
    sample = parent.metrics.registry.get_sample_value
    return [sample("convoy_worker_restarts_total", {"worker": number}) or 0 for number in ("0", "1")]


async def ready(parent: Supervisor) -> None:
    """Returns when all workers are."""
    while any(  # noqa: ASYNC110 - nothing tells it
        [await asyncio.to_thread(each.problem, "/readyz", absent="absent") for each in parent._workers]
    ):
        await asyncio.sleep(0.02)


async def test_a_worker_that_lost_its_runtimes_is_replaced_and_the_other_one_answers(parent, tmp_path, caplog):
    running = asyncio.create_task(parent.run())
    await ready(parent)
    broken = parent._workers[0].process
    (tmp_path / str(broken.pid)).touch()
    ends = set()
    while restarts(parent) == [0, 0]:
        ends.add(await ask(parent))
        assert await asyncio.to_thread(parent._stuck) is None
    assert ends <= {"OK", "INTERNAL", "UNAVAILABLE"}
    assert "OK" in ends
    [died] = [vars(record) for record in caplog.records if record.message == "worker died"]
    assert (died["worker"], died["exit_code"]) == (0, supervisor.LOST)
    assert died["reason"] == f"tiny 1: its runtime was lost and can't be opened again: {ILLEGAL}"
    await until(lambda: parent._workers[0].process not in (None, broken))
    await ready(parent)
    assert {await ask(parent) for _ in range(20)} == {"OK"}
    assert restarts(parent) == [1, 0]
    parent._stop()
    assert await running == 0
