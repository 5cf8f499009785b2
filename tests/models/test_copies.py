"""Versions that are being copied into a repository that is served: LOADING while their files change, and no error."""

import shutil
from pathlib import Path

import pytest
from bundles import make_bundle
from watched import Watched

from service.errors import ModelNotReady
from service.models.failures import STILL_LOOKS
from service.models.version import ModelQuery, State

READY, LOADING, UNAVAILABLE = State.READY, State.LOADING, State.UNAVAILABLE


def begin(source: Path, target: Path) -> None:
    """A copy that brings the manifest before the end of the model."""
    shutil.copytree(source, target)
    model = target / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])


def end(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


@pytest.fixture
async def copying(watched, tmp_path_factory) -> tuple[Watched, Path, Path]:
    """A registry that serves version 1 while version 2 is being copied, where it comes from, and where it goes."""
    make_bundle(watched.folder)
    await watched.follow()
    source = make_bundle(tmp_path_factory.mktemp("elsewhere"), version=2, seed=2).path
    target = watched.folder / "tiny" / "2"
    begin(source, target)
    return watched, source, target


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def test_a_version_whose_files_still_change_is_loading_and_then_ready(copying, caplog):
    watched, source, target = copying
    for size in range(1, 5):
        await watched.follow()
        assert watched.states() == {1: READY, 2: LOADING}
        assert watched.reason(2).startswith("its files are not whole and may still be being copied: model.onnx")
        with pytest.raises(ModelNotReady):
            watched.registry.find(ModelQuery("tiny", version=2))
        (target / "labels.part").write_bytes(b"x" * size)
    (target / "labels.part").unlink()
    end(source, target)
    await watched.follow()
    assert watched.registry.find(ModelQuery("tiny")).number == 2
    assert watched.reason(2) == ""
    assert not errors(caplog)


async def test_a_copy_that_stands_still_is_an_error_after_two_looks_and_no_sooner(copying, caplog):
    watched, source, target = copying
    await watched.follow()
    for _ in range(STILL_LOOKS - 1):
        await watched.follow()
        assert (watched.states(), errors(caplog)) == ({1: READY, 2: LOADING}, [])
    assert len(watched.loads) == 2  # what did not change is not read again
    await watched.follow()
    assert watched.states() == {1: READY, 2: UNAVAILABLE}
    assert watched.reason(2).startswith("model.onnx")
    assert errors(caplog) == ["model state"]
    await watched.follow()
    assert errors(caplog) == ["model state"]
    end(source, target)
    await watched.follow()
    assert watched.registry.find(ModelQuery("tiny")).number == 2


async def test_a_copy_that_is_given_up_is_forgotten(copying, caplog):
    watched, _, target = copying
    await watched.follow()
    shutil.rmtree(target)
    await watched.follow()
    assert (watched.states(), errors(caplog)) == ({1: READY}, [])


async def test_at_the_first_look_nothing_is_waited_for(watched, tmp_path_factory, caplog):
    """Who starts a server is told at once; a copy that goes on then is one."""
    source, target = make_bundle(tmp_path_factory.mktemp("elsewhere")).path, watched.folder / "tiny" / "1"
    begin(source, target)
    await watched.follow()
    assert (watched.states(), errors(caplog)) == ({1: UNAVAILABLE}, ["model state"])
    (target / "labels.part").write_bytes(b"x")
    await watched.follow()
    assert (watched.states(), errors(caplog)) == ({1: LOADING}, ["model state"])


async def test_while_the_only_version_wanted_is_being_copied_the_one_before_it_is_loaded(watched, tmp_path_factory):
    make_bundle(watched.folder, "other")
    await watched.follow()
    begin(make_bundle(tmp_path_factory.mktemp("elsewhere"), version=2, seed=2).path, watched.folder / "tiny" / "2")
    make_bundle(watched.folder, version=1)
    await watched.follow()
    assert watched.states() == {1: READY, 2: LOADING}
