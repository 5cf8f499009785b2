"""A version is published, another is broken, one is taken back, while callers ask over the wire: no call fails."""

import asyncio
import shutil

import numpy as np
import pytest
from bundles import encode, make_bundle
from expected import scores
from servers import Asked, serving, until

from service.models.version import State

PICTURES = [encode(each) for each in np.random.default_rng(5).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)]


async def test_a_repository_that_changes_under_load_fails_no_call(tmp_path):
    best = {}

    def publish(version: int, **others: object) -> None:
        bundle = make_bundle(tmp_path, version=version, seed=version, **others)
        best[version] = scores(bundle, PICTURES).max(axis=1)

    publish(1)
    async with serving(tmp_path, poll_interval=0.01) as (server, channel):
        asked, over = Asked(server, channel), asyncio.Event()
        versions: set[int] = set()

        async def caller() -> None:
            while not over.is_set():
                response = await asked.classify(*PICTURES)
                told = [result.classifications[0].classes[0].score for result in response.results]
                assert told == pytest.approx(best[response.model.version], abs=1e-5)
                versions.add(response.model.version)

        def states() -> dict[int, State]:
            return {version.number: version.state for version in server.models.models()["tiny"]}

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(caller())
            await until(lambda: versions == {1})
            publish(2)
            await until(lambda: states() == {2: State.READY})
            publish(3, corrupt_golden=True)
            await until(lambda: states() == {2: State.READY, 3: State.UNAVAILABLE})
            publish(4)
            await until(lambda: states() == {4: State.READY} and 4 in versions)
            shutil.rmtree(tmp_path / "tiny" / "4")
            shutil.rmtree(tmp_path / "tiny" / "3")
            await until(lambda: states() == {2: State.READY})
            over.set()
        assert versions == {1, 2, 4}
        assert asked.calls("OK") > 0
        assert [asked.calls(code) for code in ("UNAVAILABLE", "NOT_FOUND", "INTERNAL", "CANCELLED")] == [0, 0, 0, 0]
