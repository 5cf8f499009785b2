"""Versions on their way through their states, with real bundles and a real runtime.

`reconcile` is called by the test, so nothing waits for a poll.
"""

import asyncio
import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from bundles import golden_pictures, make_bundle
from expected import scores
from own_rows import own_heads
from servers import leased, until
from watched import Watched

from bundle.preprocessing import Limits
from bundle.store import Bundle
from service.errors import DeviceUnavailable, ModelNotFound, ModelNotReady, ModelUnusable
from service.inference.dataplane import DataPlane
from service.inference.values import Request
from service.models.failures import STILL_LOOKS
from service.models.version import ModelQuery, State

TINY = ModelQuery("tiny")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def set_schema_version(bundle: Bundle, version: int) -> None:
    manifest = bundle.path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": version}))


async def test_a_version_goes_from_loading_to_ready(watched):
    make_bundle(watched.folder)
    await watched.follow()
    assert watched.history == [("tiny", 1, State.LOADING), ("tiny", 1, State.READY)]
    assert watched.registry.ready("tiny")
    with leased(watched.registry, TINY) as servable:
        assert servable.bundle.version == 1
        assert servable.runs_on.startswith("onnxruntime")


async def test_a_version_is_loaded_once(watched):
    make_bundle(watched.folder)
    await watched.follow()
    await watched.follow()
    assert len(watched.loads) == 1


def break_digest(folder: Path) -> None:
    append(make_bundle(folder, version=2, seed=2).path / "model.onnx")


def break_golden(folder: Path) -> None:
    make_bundle(folder, version=2, seed=2, corrupt_golden=True)


def break_schema(folder: Path) -> None:
    set_schema_version(make_bundle(folder, version=2, seed=2), 99)


def break_manifest(folder: Path) -> None:
    (make_bundle(folder, version=2, seed=2).path / "manifest.json").write_text("{")


def remove_file(folder: Path) -> None:
    (make_bundle(folder, version=2, seed=2).path / "golden" / "outputs.npz").unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (break_digest, "model.onnx"),
        (break_golden, "does not reproduce its 4 golden samples"),
        (break_schema, "schema_version 99 is not known to this release"),
        (break_manifest, "manifest.json"),
        (remove_file, "golden/outputs.npz"),
    ],
)
async def test_a_broken_version_is_unavailable_with_its_reason_and_the_old_one_goes_on(watched, spoil, why):
    make_bundle(watched.folder, version=1)
    await watched.follow()
    spoil(watched.folder)
    for _ in range(1 + STILL_LOOKS):
        await watched.follow()
    assert watched.states() == {1: State.READY, 2: State.UNAVAILABLE}
    assert why in watched.reason(2)
    with leased(watched.registry, TINY) as servable:
        assert servable.bundle.version == 1
    with pytest.raises(ModelUnusable, match="version 2 of model 'tiny' is UNAVAILABLE: ") as refused:
        watched.registry.find(ModelQuery("tiny", version=2))
    assert why in str(refused.value)


async def test_a_model_of_which_nothing_is_ready_says_why(watched):
    make_bundle(watched.folder, corrupt_golden=True)
    await watched.follow()
    with pytest.raises(ModelUnusable, match=r"no READY version: 1 UNAVAILABLE \(.*golden samples"):
        watched.registry.find(TINY)


async def test_a_version_that_failed_is_tried_again_only_when_it_has_changed(watched):
    model = make_bundle(watched.folder).path / "model.onnx"
    good = model.read_bytes()
    append(model)
    await watched.follow()
    await watched.follow()
    assert len(watched.loads) == 1
    model.write_bytes(good)
    await watched.follow()
    assert watched.states() == {1: State.READY}
    assert watched.reason(1) == ""


async def test_a_copy_that_brings_the_manifest_first_becomes_ready_when_it_is_complete(watched, repository):
    source, target = repository / "tiny" / "1", watched.folder / "tiny" / "1"
    target.mkdir(parents=True)
    shutil.copy(source / "manifest.json", target)
    await watched.follow()
    assert watched.states() == {1: State.UNAVAILABLE}
    shutil.copytree(source, target, dirs_exist_ok=True)
    await watched.follow()
    assert watched.states() == {1: State.READY}


async def test_a_new_version_replaces_the_old_one_when_its_last_call_is_answered(watched):
    make_bundle(watched.folder, version=1)
    await watched.follow()
    with leased(watched.registry, TINY) as old:
        make_bundle(watched.folder, version=2, seed=2)
        await watched.follow()
        assert watched.states() == {1: State.UNLOADING, 2: State.READY}
        with leased(watched.registry, TINY) as new:
            assert new.bundle.version == 2
        with pytest.raises(ModelNotReady, match="version 1 of model 'tiny' is UNLOADING"):
            watched.registry.find(ModelQuery("tiny", version=1))
        rows = np.zeros((1, 8, 8, 3), np.uint8)
        assert (await old.batcher.run({"image": rows})).outputs["probabilities"].shape == (1, 3)
    await until(lambda: watched.states() == {2: State.READY})


async def test_going_back_to_an_older_version_loads_it_again(watched):
    make_bundle(watched.folder, version=1)
    second = make_bundle(watched.folder, version=2, seed=2)
    await watched.follow()
    assert watched.states() == {2: State.READY}
    shutil.rmtree(second.path)
    await watched.follow()
    await until(lambda: watched.states() == {1: State.READY})


async def test_a_model_that_is_removed_is_not_found_any_more(watched):
    make_bundle(watched.folder, "cats")
    make_bundle(watched.folder, "dogs")
    await watched.follow()
    shutil.rmtree(watched.folder / "cats")
    await watched.follow()
    await until(lambda: not watched.states("cats"))
    with pytest.raises(ModelNotFound, match="model 'cats' is not in the repository; it holds: dogs"):
        watched.registry.find(ModelQuery("cats"))
    assert watched.registry.ready("dogs")


async def test_going_back_to_a_version_that_still_unloads_keeps_the_other_one_until_it_is_loaded_again(watched):
    """The old version's last call ends in the middle of a look at the repository, while another model loads."""
    make_bundle(watched.folder, version=1)
    await watched.follow()
    last_call = ExitStack()
    last_call.enter_context(leased(watched.registry, TINY))
    second = make_bundle(watched.folder, version=2, seed=2)
    await watched.follow()
    assert watched.states() == {1: State.UNLOADING, 2: State.READY}

    async def end_the_call(_path: Path) -> None:
        last_call.close()
        await until(lambda: watched.states() == {2: State.READY})
        watched.before_load = None

    watched.before_load = end_the_call
    shutil.rmtree(second.path)
    make_bundle(watched.folder, "zebras")
    await watched.follow()
    assert watched.states() == {2: State.READY}
    assert watched.states("zebras") == {1: State.READY}
    await watched.follow()
    await until(lambda: watched.states() == {1: State.READY})


async def test_an_error_that_nobody_foresaw_is_the_reason_and_the_log_has_its_traceback(watched, caplog):
    async def stumble(_path: Path) -> None:
        raise ZeroDivisionError("the number of nothing")

    make_bundle(watched.folder)
    watched.before_load = stumble
    await watched.follow()
    assert watched.reason(1) == "ZeroDivisionError: the number of nothing"
    assert "Traceback" in caplog.text


async def test_a_reason_with_a_path_that_is_not_utf_8_can_be_sent(watched):
    async def stumble(_path: Path) -> None:
        raise ModelUnusable("/models/caf\udce9/1 is broken")

    make_bundle(watched.folder)
    watched.before_load = stumble
    await watched.follow()
    assert watched.reason(1) == "/models/caf\\udce9/1 is broken"


async def test_a_device_that_is_absent_is_a_start_up_mistake(tmp_path):
    watched = Watched(tmp_path, device="cuda:7")
    make_bundle(tmp_path)
    with pytest.raises(DeviceUnavailable, match="device cuda:7"):
        await watched.follow()
    assert watched.states() == {1: State.UNAVAILABLE}


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (ModelQuery("tin"), "model 'tin' is not in the repository; it holds: tiny"),
        (ModelQuery("tiny", version=3), "model 'tiny' has no version 3; it has: 1 READY"),
        (ModelQuery("tiny", version=-1), "model 'tiny' has no version -1; it has: 1 READY"),
        (ModelQuery("tiny", label="stable"), "model 'tiny' has no version label 'stable'; it has: none"),
    ],
)
async def test_what_is_not_there_is_told_with_what_is(watched, query, sentence):
    make_bundle(watched.folder)
    await watched.follow()
    with pytest.raises(ModelNotFound) as refused:
        watched.registry.find(query)
    assert str(refused.value) == sentence


async def test_the_metrics_show_one_state_a_version_and_forget_those_that_are_gone(watched):
    def state(version: int, state: State) -> float | None:
        labels = {"model": "tiny", "version": str(version), "state": str(state)}
        return watched.metrics.registry.get_sample_value("convoy_model_state", labels)

    make_bundle(watched.folder, version=1)
    await watched.follow()
    assert [state(1, each) for each in State] == [0, 1, 0, 0]
    make_bundle(watched.folder, version=2, corrupt_golden=True)
    await watched.follow()
    assert state(2, State.UNAVAILABLE) == 1
    make_bundle(watched.folder, version=3, seed=3)
    await watched.follow()
    await until(lambda: watched.states() == {3: State.READY})
    assert [state(version, State.READY) for version in (1, 2, 3)] == [None, None, 1]


async def test_close_waits_for_the_calls_that_run(watched):
    make_bundle(watched.folder)
    await watched.follow()
    with leased(watched.registry, TINY):
        closing = asyncio.ensure_future(watched.registry.close())
        await until(lambda: watched.states() == {1: State.UNLOADING})
        assert not closing.done()
    await closing
    assert watched.registry.models() == {}


async def test_a_swap_under_load_fails_no_call_and_every_answer_is_its_version_s_own(watched):
    """Sixteen callers go on while version 2 is published and version 1 is torn down."""
    versions = {1: make_bundle(watched.folder, version=1, seed=1)}
    await watched.follow()
    pictures = list(golden_pictures(versions[1].manifest.preprocessing[0], 2, seed=9).values())
    best = {1: -np.sort(-scores(versions[1], pictures))}
    plane = DataPlane(watched.registry, limits=Limits(), max_images_per_call=8)
    under_way = asyncio.Semaphore(0)

    async def caller() -> list[int]:
        """Asks until the new version has answered some of the calls, and tells who answered each."""
        answered: list[int] = []
        while answered.count(2) < 10:
            answer = await plane.classify(Request(TINY, {"": pictures}, top_k=3))
            np.testing.assert_allclose(own_heads(answer)[0].scores, best[answer.servable.bundle.version], atol=1e-5)
            answered.append(answer.servable.bundle.version)
            under_way.release()
        return answered

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(caller()) for _ in range(16)]
        for _ in range(48):
            await under_way.acquire()
        versions[2] = make_bundle(watched.folder, version=2, seed=2)
        best[2] = -np.sort(-scores(versions[2], pictures))
        await watched.follow()
    await until(lambda: watched.states() == {2: State.READY})
    plane.close()
    assert not np.allclose(best[1], best[2], atol=1e-3)
    answered = [task.result() for task in callers]
    assert all(each[0] == 1 for each in answered)
    assert all(each == sorted(each) for each in answered), "a caller was sent back to the old version"


async def test_a_version_whose_runtimes_are_lost_is_not_ready_is_not_loaded_twice_and_is_unloaded(watched):
    make_bundle(watched.folder)
    await watched.follow()
    with leased(watched.registry, TINY) as servable:
        batcher = servable.batcher

    def lost(problem: str, *, renewing: bool = False) -> None:
        batcher._instances.problem, batcher._instances.renewing = problem, renewing
        batcher._instances_changed()

    lost("it hangs", renewing=True)
    assert (watched.states(), watched.reason(1)) == ({1: State.LOADING}, "it hangs")
    lost("no device")
    assert (watched.states(), watched.reason(1)) == ({1: State.UNAVAILABLE}, "no device")
    with pytest.raises(ModelNotReady, match="no device"):
        watched.registry.find(TINY)
    await watched.follow()
    assert len(watched.loads) == 1
    lost("")
    assert (watched.states(), watched.reason(1)) == ({1: State.READY}, "")
    lost("no device")
    make_bundle(watched.folder, version=2, seed=2, corrupt_golden=True)
    await watched.follow()
    assert watched.states() == {1: State.UNAVAILABLE, 2: State.UNAVAILABLE}  # the older may come back: it is kept
    await watched.registry.close()
    assert watched.states() == {}
    assert ("tiny", 1, State.UNLOADING) in watched.history
