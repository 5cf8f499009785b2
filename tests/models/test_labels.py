"""Labels: where they may point, what they keep loaded, what of them outlives the process."""

import asyncio
import json
import shutil
import threading
from pathlib import Path

import pytest
from bundles import make_bundle
from servers import leased, until
from watched import Watched

from service.errors import (
    LabelRefused,
    ModelNotFound,
    ModelUnusable,
    RequestInvalid,
    ServiceError,
    SettingsError,
)
from service.models import labels
from service.models.labels import STATE_FILE, Labels
from service.models.registry import Registry
from service.models.version import ModelQuery, State

TINY = ModelQuery("tiny")
STABLE = ModelQuery("tiny", label="stable")
READY = State.READY


def publish(folder: Path, *versions: int) -> None:
    for version in versions:
        make_bundle(folder, version=version, seed=version)


def write(folder: Path, text: str) -> None:
    (folder / "tiny" / "convoy.toml").write_text(text)


def answering(registry: Registry, query: ModelQuery) -> int:
    return registry.find(query).number


async def test_a_labelled_version_stays_beyond_the_policy_until_no_label_points_to_it(watched):
    publish(watched.folder, 1)
    await watched.follow()
    assert await watched.registry.set_label("tiny", "stable", 1) is None
    publish(watched.folder, 2)
    await watched.follow()
    assert watched.states() == {1: READY, 2: READY}
    assert (answering(watched.registry, STABLE), answering(watched.registry, TINY)) == (1, 2)
    assert await watched.registry.set_label("tiny", "stable", 2) == 1
    await until(lambda: watched.states() == {2: READY})
    assert answering(watched.registry, STABLE) == 2


async def test_a_labelled_version_whose_folder_is_gone_serves_on_and_is_told(watched, caplog):
    publish(watched.folder, 1, 2)
    write(watched.folder, "[labels]\ndeclared = 1\n")
    await watched.follow()
    await watched.registry.set_label("tiny", "stable", 1)
    (watched.folder / "tiny" / "1").rename(watched.folder / "1")
    await watched.follow()
    await watched.follow()
    assert answering(watched.registry, STABLE) == 1
    gone = (
        "version 1 is served for its label {!r}, but its folder is gone, and after a restart it can't be loaded: "
        "put it back, or move the label"
    )
    assert watched.registry.problem("tiny") == "; ".join(gone.format(label) for label in ("declared", "stable"))
    [told] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert told.problem == watched.registry.problem("tiny")
    write(watched.folder, "[labels]\ndeclared = 0\n")
    await watched.follow()
    assert gone.format("stable") in watched.registry.problem("tiny")
    write(watched.folder, "")
    (watched.folder / "1").rename(watched.folder / "tiny" / "1")
    await watched.follow()
    assert watched.registry.problem("tiny") == ""
    assert answering(watched.registry, STABLE) == 1


async def test_a_version_goes_with_its_last_label(watched):
    publish(watched.folder, 1)
    await watched.follow()
    for label in ("stable", "canary"):
        await watched.registry.set_label("tiny", label, 1)
    publish(watched.folder, 2)
    await watched.follow()
    assert await watched.registry.delete_label("tiny", "stable") == 1
    assert watched.states() == {1: READY, 2: READY}
    await watched.registry.delete_label("tiny", "canary")
    await until(lambda: watched.states() == {2: READY})


async def test_a_label_only_points_at_a_ready_version(watched):
    publish(watched.folder, 1)
    await watched.follow()
    make_bundle(watched.folder, version=2, corrupt_golden=True)
    await watched.follow()
    for version in (2, 3):
        with pytest.raises(LabelRefused) as refused:
            await watched.registry.set_label("tiny", "stable", version)
        said = (
            f"label 'stable' of model 'tiny' can only point at a READY version, and {version} is not; it has: 1 READY"
        )
        assert str(refused.value).startswith(f"{said}, 2 UNAVAILABLE (")
    assert watched.registry.labels("tiny") == {}


async def test_a_version_that_unloads_can_not_be_labelled_any_more(watched):
    publish(watched.folder, 1)
    await watched.follow()
    with leased(watched.registry, TINY):
        publish(watched.folder, 2)
        await watched.follow()
        with pytest.raises(LabelRefused, match="it has: 1 UNLOADING, 2 READY"):
            await watched.registry.set_label("tiny", "stable", 1)


@pytest.mark.parametrize("label", ["", "a b", "é", "x" * 129, "7", "a/b"])
async def test_what_can_not_be_a_label_is_refused(watched, label):
    publish(watched.folder, 1)
    await watched.follow()
    with pytest.raises(RequestInvalid, match="can't be a version label: it must be 1 to 128 of A-Z"):
        await watched.registry.set_label("tiny", label, 1)


async def test_labels_that_are_not_there_are_told_with_those_that_are(watched):
    publish(watched.folder, 1)
    await watched.follow()
    for label in ("stable", "eu"):
        await watched.registry.set_label("tiny", label, 1)
    sentence = "model 'tiny' has no version label 'canary'; it has: eu -> 1, stable -> 1"
    with pytest.raises(ModelNotFound) as refused:
        watched.registry.find(ModelQuery("tiny", label="canary"))
    assert str(refused.value) == sentence
    with pytest.raises(ModelNotFound) as refused:
        await watched.registry.delete_label("tiny", "canary")
    assert str(refused.value) == sentence
    with pytest.raises(ModelNotFound, match="model 'tin' is not in the repository; it holds: tiny"):
        await watched.registry.set_label("tin", "stable", 1)


async def test_labels_outlive_the_process_and_load_what_they_point_to(tmp_path):
    models, state = tmp_path / "models", tmp_path / "new" / "state"
    publish(models, 1)
    first = Watched(models, state=state)
    await first.follow()
    await first.registry.set_label("tiny", "stable", 1)
    publish(models, 2)
    await first.registry.close()
    second = Watched(models, state=state)
    await second.follow()
    assert second.states() == {1: READY, 2: READY}
    assert answering(second.registry, STABLE) == 1
    await second.registry.delete_label("tiny", "stable")
    await second.registry.close()
    assert json.loads((state / STATE_FILE).read_text()) == {}


async def test_a_label_whose_version_does_not_come_back_is_never_answered_by_another(tmp_path):
    models, state = tmp_path / "models", tmp_path / "state"
    publish(models, 1, 2)
    state.mkdir()
    (state / STATE_FILE).write_text('{"tiny": {"stable": 1, "old": 7}}')
    with (models / "tiny" / "1" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    watched = Watched(models, state=state)
    await watched.follow()
    with pytest.raises(ModelUnusable, match=r"points to version 1, which is not READY; it has: 1 UNAVAILABLE \("):
        watched.registry.find(STABLE)
    with pytest.raises(
        ModelUnusable, match="'old' of model 'tiny' points to version 7, which is not in the repository"
    ):
        watched.registry.find(ModelQuery("tiny", label="old"))
    assert answering(watched.registry, TINY) == 2
    await watched.registry.close()


async def test_a_version_that_is_forgotten_while_its_files_are_looked_at_is_not_loaded(tmp_path):
    models, state = tmp_path / "models", tmp_path / "state"
    publish(models, 1, 2)
    state.mkdir()
    (state / STATE_FILE).write_text('{"tiny": {"stable": 1}}')
    broken = models / "tiny" / "1" / "model.onnx"
    good = broken.read_bytes()
    broken.write_bytes(good + b"\0")
    watched = Watched(models, state=state)
    await watched.follow()
    assert watched.states() == {1: State.UNAVAILABLE, 2: READY}

    async def leave(version: Path) -> None:
        if version.name == "1":
            await watched.registry.delete_label("tiny", "stable")

    broken.write_bytes(good)
    watched.before_stamp, watched.loads = leave, []
    await watched.follow()
    assert (watched.states(), watched.loads) == ({2: READY}, [])
    await watched.registry.close()


async def test_a_label_that_can_not_be_kept_is_not_moved(tmp_path):
    models, state = tmp_path / "models", tmp_path / "state"
    publish(models, 1)
    watched = Watched(models, state=state)
    await watched.follow()
    shutil.rmtree(state)
    with pytest.raises(ServiceError, match=r"can't be kept in .*No such file or directory; label 'stable' was not"):
        await watched.registry.set_label("tiny", "stable", 1)
    assert watched.registry.labels("tiny") == {}
    await watched.registry.close()


async def test_a_version_that_a_label_may_return_to_is_not_unloaded_meanwhile(tmp_path, monkeypatch):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def keep(*_arguments: object) -> None:
        begun.release()
        go_on.wait()
        raise OSError(28, "No space left on device")

    models = tmp_path / "models"
    publish(models, 1)
    watched = Watched(models, state=tmp_path / "state")
    await watched.follow()
    await watched.registry.set_label("tiny", "stable", 1)
    publish(models, 2)
    await watched.follow()
    monkeypatch.setattr(labels, "_keep", keep)
    moving = asyncio.create_task(watched.registry.set_label("tiny", "stable", 2))
    try:
        await until(lambda: begun.acquire(blocking=False))
        await watched.follow()
    finally:
        go_on.set()
    with pytest.raises(ServiceError, match="No space left on device; label 'stable' was not moved"):
        await moving
    assert watched.states() == {1: READY, 2: READY}
    assert answering(watched.registry, STABLE) == 1
    await watched.registry.close()


async def test_changes_at_once_are_all_kept_even_when_their_callers_leave(tmp_path):
    models, state = tmp_path / "models", tmp_path / "state"
    publish(models, 1)
    watched = Watched(models, state=state)
    await watched.follow()
    names = [f"label-{number}" for number in range(20)]
    changes = [asyncio.create_task(watched.registry.set_label("tiny", name, 1)) for name in names]
    await asyncio.sleep(0)
    for change in changes[::2]:
        change.cancel()
    await asyncio.gather(*changes, return_exceptions=True)
    await watched.registry.delete_label("tiny", names[0])
    assert json.loads((state / STATE_FILE).read_text()) == {"tiny": dict.fromkeys(names[1:], 1)}
    await watched.registry.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tiny": 3}', '{"tiny": {"stable": "3"}}', '{"tiny": {"a b": 3}}'])
def test_a_damaged_file_is_a_start_up_mistake(tmp_path, text):
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(SettingsError, match=r"labels\.json is damaged \(.*\); mend it, or remove it and set the"):
        Labels(tmp_path)
    assert (tmp_path / STATE_FILE).read_text() == text


def test_a_state_that_is_no_folder_is_a_start_up_mistake(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(SettingsError, match=r"--state .*state can't be used: .*; choose a folder to write in"):
        Labels(tmp_path / "state")


async def test_a_declared_label_moves_when_its_version_is_ready(watched):
    publish(watched.folder, 1, 2)
    write(watched.folder, "[labels]\nstable = 1\n")
    await watched.follow()
    assert watched.states() == {1: READY, 2: READY}
    assert (answering(watched.registry, STABLE), answering(watched.registry, TINY)) == (1, 2)
    make_bundle(watched.folder, version=3, corrupt_golden=True)
    write(watched.folder, "[labels]\nstable = 3\n")
    await watched.follow()
    assert answering(watched.registry, STABLE) == 1
    assert watched.registry.problem("tiny") == "label 'stable' stays at version 1, because version 3 is not READY"
    write(watched.folder, "[labels]\nstable = 2\n")
    await watched.follow()
    assert answering(watched.registry, STABLE) == 2
    assert watched.registry.problem("tiny") == ""


async def test_a_declared_label_is_changed_in_its_file_only(watched):
    publish(watched.folder, 1)
    write(watched.folder, "[labels]\nstable = 1\n")
    await watched.follow()
    for change in (watched.registry.set_label("tiny", "stable", 1), watched.registry.delete_label("tiny", "stable")):
        with pytest.raises(LabelRefused, match=r"is declared in its convoy\.toml; change it there"):
            await change
    write(watched.folder, "")
    await watched.follow()
    assert watched.registry.labels("tiny") == {}
    await watched.registry.set_label("tiny", "stable", 1)


async def test_a_label_declared_for_a_version_that_is_not_there_points_nowhere_until_it_is(watched, caplog):
    caplog.set_level("INFO")
    publish(watched.folder, 1)
    write(watched.folder, "[labels]\nstable = 2\n")
    await watched.follow()
    said = "label 'stable' points nowhere, because version 2 is not in the repository"
    assert (watched.registry.problem("tiny"), watched.registry.labels("tiny")) == (said, {})
    with pytest.raises(ModelUnusable, match="points to version 2, which is not in the repository; it has: 1 READY"):
        watched.registry.find(STABLE)
    assert "version label" not in caplog.messages
    assert (
        watched.metrics.registry.get_sample_value("convoy_version_label", {"model": "tiny", "label": "stable"}) is None
    )
    publish(watched.folder, 2)
    await watched.follow()
    assert (answering(watched.registry, STABLE), watched.registry.problem("tiny")) == (2, "")
    [moved] = [record for record in caplog.records if record.message == "version label"]
    assert (moved.version, moved.was) == (2, None)


async def test_the_labels_are_in_the_metrics_and_the_log(watched, caplog):
    def shown(label: str) -> float | None:
        return watched.metrics.registry.get_sample_value("convoy_version_label", {"model": "tiny", "label": label})

    caplog.set_level("INFO")
    publish(watched.folder, 1)
    await watched.follow()
    await watched.registry.set_label("tiny", "stable", 1)
    assert shown("stable") == 1
    await watched.registry.delete_label("tiny", "stable")
    assert shown("stable") is None
    told = [(record.version, record.was) for record in caplog.records if record.message == "version label"]
    assert told == [(1, None), (None, 1)]
