"""Fifty hot swaps of a model with megabytes of weights under load: no call fails, none is answered by a version that
it does not name, and the process does not grow.
"""

import asyncio
import os
import shutil
from pathlib import Path

import grpc.aio
import numpy as np
import pytest
from bundles import encode, make_bundle
from expected import scores
from servers import LOCALHOST, ServeProcess, arguments, process

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc

SWAPS = 50
SETTLED = 15
"""After so many swaps, what the process needs once (code, threads, the allocator's arenas) is there."""
LABELS = tuple(f"class {number}" for number in range(100))
SHAPE = {"height": 64, "width": 64, "channels": 3}
WEIGHTS = 64 * 64 * 3 * 100 * 4
PICTURES = [encode(each) for each in np.random.default_rng(5).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)]


class Source:
    """Three models that disagree, of which any can be published as any version at the cost of a few links."""

    def __init__(self, folder: Path) -> None:
        made = [make_bundle(folder, f"m{n}", labels=LABELS, preprocessing=SHAPE, seed=n, golden=2) for n in range(3)]
        self._folders = [bundle.path for bundle in made]
        self._best = [scores(bundle, PICTURES).max(axis=1) for bundle in made]

    def best(self, version: int) -> np.ndarray:
        return self._best[version % 3]

    def publish(self, repository: Path, version: int) -> None:
        """Version n is model n mod 3, so that neighbours disagree; the one before the last is removed."""
        staged = repository / f".staging-{version}"
        shutil.copytree(self._folders[version % 3], staged, copy_function=os.link)
        (repository / "tiny").mkdir(exist_ok=True)
        staged.rename(repository / "tiny" / str(version))
        shutil.rmtree(repository / "tiny" / str(version - 2), ignore_errors=True)


def resident(server: ServeProcess) -> int:
    """The bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process's memory")
async def test_fifty_swaps_under_load_fail_no_call_and_give_the_memory_back(tmp_path, transport):
    source, repository = Source(tmp_path / "source"), tmp_path / "models"
    repository.mkdir()
    source.publish(repository, 1)
    with process(*arguments(repository, "--transport", transport, "--poll-interval", "0.02")) as server:
        port = server.logged("listening")["grpc_port"]
        server.logged("model state", version=1, state="READY")
        async with grpc.aio.insecure_channel(f"{LOCALHOST}:{port}") as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            answered: dict[int, int] = {}
            over = asyncio.Event()

            async def caller() -> None:
                request = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=PICTURES)])
                while not over.is_set():
                    response = await stub.Classify(request)
                    told = [result.classifications[0].classes[0].score for result in response.results]
                    assert told == pytest.approx(source.best(response.model.version), abs=1e-5)
                    answered[response.model.version] = answered.get(response.model.version, 0) + 1

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(caller())
                held = []
                for version in range(2, SWAPS + 2):
                    source.publish(repository, version)
                    await asyncio.to_thread(server.logged, "model unloaded", version=version - 1)
                    held.append(resident(server))
                over.set()
        assert answered.keys() <= set(range(1, SWAPS + 2))
        assert len(answered) > SWAPS // 2, "the versions were not under load"
        # What is kept for ever, or freed late, adds up to many times the weights over so many versions.
        assert max(held[SETTLED:]) - min(held[:SETTLED]) < 8 * WEIGHTS
