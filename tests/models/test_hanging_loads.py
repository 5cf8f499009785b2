"""A load that does not come back ends as UNAVAILABLE, and holds up neither other models nor the server's end."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from bundles import make_bundle
from servers import Asked, serving, settings, until
from watched import Watched

from protos.classifier.v1 import classifier_pb2 as pb
from service.errors import ModelUnusable, SettingsError
from service.models import loader, quiet, repository
from service.models.loader import Loader
from service.models.version import State
from service.runtimes.opening import open_runtime
from service.telemetry.metrics import Metrics


class Engine:
    """Opens runtimes, but hangs on those of a model named "stuck" until it is let go."""

    def __init__(self) -> None:
        self.hanging = threading.Semaphore(0)
        self.may = threading.Event()

    def __call__(self, bundle: Any, **options: Any) -> Any:
        if bundle.name == "stuck":
            self.hanging.release()
            self.may.wait()
        return open_runtime(bundle, **options)


@pytest.fixture
def engine(monkeypatch) -> Iterator[Engine]:
    engine = Engine()
    monkeypatch.setattr(loader, "open_runtime", engine)
    yield engine
    engine.may.set()


async def test_a_version_whose_engine_hangs_is_unavailable_and_is_tried_again(tmp_path, engine):
    make_bundle(tmp_path, "stuck")
    watched = Watched(tmp_path, retry_seconds=0, load_timeout=0.1)
    await watched.follow()
    assert watched.states("stuck") == {1: State.UNAVAILABLE}
    [version] = watched.registry.models()["stuck"]
    assert version.reason == "opening it with onnx took over 0.1 s (--load-timeout) and was given up; it may hang"
    engine.may.set()
    watched._loader._threads._seconds = 60
    await watched.follow()
    assert watched.states("stuck") == {1: State.READY}
    await watched.registry.close()


async def test_an_engine_that_hangs_when_a_lost_runtime_is_opened_again_is_given_up(tmp_path, engine):
    make_bundle(tmp_path, "stuck")
    engine.may.set()
    watched = Watched(tmp_path)
    await watched.follow()
    [version] = watched.registry.models()["stuck"]
    renewal = version.servable.batcher._instances._renewal
    engine.may.clear()
    watched._loader._threads._seconds = 0.1
    with pytest.raises(ModelUnusable, match=r"opening it with onnx took over 0\.1 s \(--load-timeout\)"):
        await renewal.open()
    engine.may.set()
    watched._loader._threads._seconds = 60
    runtime = await renewal.open()
    renewal.prove(runtime)
    runtime.close()
    await watched.registry.close()


async def test_other_models_load_beside_one_that_hangs(tmp_path, engine):
    """By its name the model that hangs comes first."""
    for name in ("stuck", "tiny"):
        make_bundle(tmp_path, name)
    watched = Watched(tmp_path, patience=0.01)
    looking = asyncio.create_task(watched.follow())
    await until(lambda: watched.states() == {1: State.READY})
    assert watched.states("stuck") == {1: State.LOADING}
    assert not looking.done()
    engine.may.set()
    await looking
    assert watched.states("stuck") == {1: State.READY}
    await watched.registry.close()


async def test_a_later_look_does_not_wait_for_a_load_that_hangs(tmp_path, engine):
    make_bundle(tmp_path)
    watched = Watched(tmp_path, patience=0.01)
    await watched.follow()
    make_bundle(tmp_path, "stuck")
    await watched.follow()
    make_bundle(tmp_path, version=2, seed=2)
    await watched.follow()
    await until(lambda: watched.states() == {2: State.READY})
    assert watched.states("stuck") == {1: State.LOADING}
    engine.may.set()
    await until(lambda: watched.states("stuck") == {1: State.READY})
    await watched.registry.close()


async def test_a_server_that_stops_does_not_wait_for_a_load_that_hangs(
    tmp_path, engine, transport, monkeypatch, caplog
):
    monkeypatch.setattr(quiet, "LAST_SECONDS", 0.1)
    make_bundle(tmp_path, "stuck")
    async with serving(tmp_path, ready=False, transport=transport) as (server, channel):
        await until(lambda: engine.hanging.acquire(blocking=False))
        listed = await Asked(server, channel).stub.ListModels(pb.ListModelsRequest())
        assert [model.name for model in listed.models] == ["stuck"]
    assert "a load does not come back" in caplog.text


@pytest.fixture
def mount(monkeypatch) -> Iterator[threading.Event]:
    """A mount on which every look at files hangs until it is let go."""
    may, scan, stamp = threading.Event(), repository.scan, repository.stamp

    def slow_scan(folder: Any) -> Any:
        may.wait()
        return scan(folder)

    def slow_stamp(folder: Any) -> Any:
        may.wait()
        return stamp(folder)

    monkeypatch.setattr(repository, "scan", slow_scan)
    monkeypatch.setattr(repository, "stamp", slow_stamp)
    yield may
    may.set()


async def test_a_version_whose_files_can_not_be_looked_at_is_unavailable_and_is_tried_again(tmp_path, mount):
    make_bundle(tmp_path)
    mount.set()
    watched = Watched(tmp_path, load_timeout=0.1)
    found = repository.scan(tmp_path)
    mount.clear()
    for _ in range(2):
        await watched.registry.reconcile(found)
        assert watched.states() == {1: State.UNAVAILABLE}
        assert watched.reason(1).startswith("looking at its files took over 0.1 s (--load-timeout) and was given up")
    mount.set()
    watched._loader._threads._seconds = 60
    await watched.registry.reconcile(found)
    assert watched.states() == {1: State.READY}
    await watched.registry.close()


async def test_a_repository_that_hangs_is_said_and_holds_up_no_end(tmp_path, mount, monkeypatch):
    monkeypatch.setattr(quiet, "LAST_SECONDS", 0.1)
    make_bundle(tmp_path)
    looking = Loader(settings(tmp_path, load_timeout=0.05), Metrics())
    with pytest.raises(SettingsError, match=r"^--repository .* can't be read: reading it took over 0\.05 s"):
        await looking.scan()
    await looking.close()
    [left] = looking._threads._busy
    assert left.daemon
