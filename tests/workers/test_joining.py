"""When a worker that comes back begins to listen: with the models that its siblings serve, whatever the others do."""

import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from bundles import make_bundle
from servers import settings, until

from service.config import Shared
from service.doors import Doors
from service.models import loader
from service.models.version import State
from service.runtimes.opening import open_runtime
from service.server import Server

Joining = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
def joining(tmp_path, transport) -> Joining:
    """A worker that comes back to siblings that serve these models."""

    @asynccontextmanager
    async def start(*awaits: str, unsure: bool = False) -> AsyncIterator[Server]:
        doors = Doors()
        chosen = settings(tmp_path, transport=transport, poll_interval=0.01, workers=2)
        server = Server(chosen, shared=Shared(doors.address("0-2"), frozenset(awaits), unsure))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
            doors.close()

    return start


def states(server: Server, name: str) -> list[State]:
    return [version.state for version in server.models.models().get(name, ())]


def listens(server: Server) -> bool:
    return server._grpc is not None and server._joining is not None and server._joining.done()


async def test_a_model_that_nobody_serves_holds_it_up_as_little_as_its_health(tmp_path, joining):
    make_bundle(tmp_path)
    make_bundle(tmp_path, "broken", corrupt_golden=True)
    async with joining("tiny") as server:
        await until(lambda: listens(server) and server.health.problem() is None)
        assert states(server, "broken") == [State.UNAVAILABLE]


async def test_a_model_that_others_serve_is_waited_for(tmp_path, joining):
    make_bundle(tmp_path)
    broken = make_bundle(tmp_path, "broken", corrupt_golden=True)
    async with joining("tiny", "broken") as server:
        await until(lambda: states(server, "broken") == [State.UNAVAILABLE] and server.models.ready("tiny"))
        assert not listens(server)
        shutil.rmtree(broken.path)
        make_bundle(tmp_path, "broken", version=2)
        await until(lambda: listens(server))


async def test_a_model_that_has_left_the_repository_is_not_waited_for(tmp_path, joining):
    make_bundle(tmp_path)
    async with joining("tiny", "gone") as server:
        await until(lambda: listens(server))


async def test_a_version_that_a_label_means_is_waited_for(tmp_path, joining, monkeypatch):
    """The highest one is loaded first; callers by label would be refused until theirs is there, too."""
    old, _ = make_bundle(tmp_path), make_bundle(tmp_path, version=2)
    (tmp_path / "tiny/convoy.toml").write_text("[labels]\nstable = 1\n")
    may = threading.Event()

    def held(bundle, *arguments, **options):
        if bundle.version == old.version:
            may.wait()
        return open_runtime(bundle, *arguments, **options)

    monkeypatch.setattr(loader, "open_runtime", held)
    async with joining("tiny") as server:
        try:
            await until(lambda: states(server, "tiny") == [State.LOADING, State.READY])
            assert server._joining is None
        finally:
            may.set()
        await until(lambda: listens(server))
        assert states(server, "tiny") == [State.READY, State.READY]


async def test_where_nobody_serves_it_listens_and_says_why_it_can_not(tmp_path, joining):
    make_bundle(tmp_path, corrupt_golden=True)
    async with joining() as server:
        await until(lambda: listens(server) and states(server, "tiny") == [State.UNAVAILABLE])
        assert "golden samples" in (server.health.problem() or "")


async def test_where_a_sibling_did_not_say_what_it_serves_all_is_tried_before_it_listens(
    tmp_path, joining, monkeypatch
):
    """A model that can't be loaded does not hold it up for ever."""
    make_bundle(tmp_path)
    make_bundle(tmp_path, "broken", corrupt_golden=True)
    may = threading.Event()

    def held(*arguments, **options):
        may.wait()
        return open_runtime(*arguments, **options)

    monkeypatch.setattr(loader, "open_runtime", held)
    async with joining(unsure=True) as server:
        try:
            await until(lambda: State.LOADING in states(server, "tiny") + states(server, "broken"))
            assert server._joining is None
        finally:
            may.set()
        await until(lambda: listens(server))
        assert states(server, "tiny") == [State.READY]
        assert states(server, "broken") == [State.UNAVAILABLE]
