"""What the repository's folder is taken to hold, and the loop that follows it."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from bundles import make_bundle

from service.errors import SettingsError
from service.models import repository
from service.models.modelfile import ModelFile
from service.models.policy import Policy
from service.models.repository import PublishedModel


def test_every_published_version_of_every_model_is_found(tmp_path):
    for name, version in (("cats", 2), ("cats", 10), ("dogs", 3)):
        make_bundle(tmp_path, name, version=version)
    assert repository.scan(tmp_path) == [
        PublishedModel("cats", tmp_path / "cats", (2, 10), ModelFile()),
        PublishedModel("dogs", tmp_path / "dogs", (3,), ModelFile()),
    ]


def test_what_is_not_published_is_not_seen(tmp_path):
    make_bundle(tmp_path, version=1)
    (tmp_path / "half" / "1").mkdir(parents=True)
    (tmp_path / "tiny" / "2").mkdir()
    (tmp_path / ".staging-tiny-0" / "3").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("not a model")
    assert [(each.name, each.versions) for each in repository.scan(tmp_path)] == [("tiny", (1,))]


def test_a_model_s_own_file_is_read_with_it(tmp_path):
    for name, text in (("cats", '[versions]\npolicy = "all"\n'), ("dogs", "[versions")):
        make_bundle(tmp_path, name)
        (tmp_path / name / "convoy.toml").write_text(text)
    cats, dogs = repository.scan(tmp_path)
    assert (cats.file, cats.problem) == (ModelFile(Policy()), "")
    assert (dogs.versions, dogs.file) == ((1,), None)
    assert dogs.problem.startswith(f"{tmp_path / 'dogs' / 'convoy.toml'} is not TOML: ")


def test_a_folder_that_is_missing_is_a_start_up_mistake(tmp_path):
    with pytest.raises(SettingsError, match=r"--repository .*nowhere is not a folder; make it or name another"):
        repository.check(tmp_path / "nowhere")


def test_a_folder_without_a_version_is_a_start_up_mistake(tmp_path):
    (tmp_path / "tiny" / "1").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"holds no published version \(MODEL/VERSION/manifest.json\)"):
        repository.check(tmp_path)


def test_a_folder_that_can_not_be_listed_is_a_start_up_mistake(tmp_path, monkeypatch):
    """Listing fails for whom the folder does not admit; root is admitted everywhere, so the refusal is put in place."""

    def refuse(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    make_bundle(tmp_path)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SettingsError, match=r"can't be read: .*Permission denied"):
        repository.check(tmp_path)


def test_the_stamp_of_a_version_changes_with_any_of_its_files(tmp_path):
    path = make_bundle(tmp_path).path
    stamps = {repository.stamp(path)}
    (path / "labels" / "more.txt").write_text("")
    stamps.add(repository.stamp(path))
    os.utime(path / "model.onnx", ns=(0, 0))
    stamps.add(repository.stamp(path))
    (path / "golden" / "00.png").unlink()
    stamps.add(repository.stamp(path))
    assert len(stamps) == 4
    assert repository.stamp(path) in stamps


def test_the_stamp_of_a_version_that_is_gone_is_empty(tmp_path):
    assert repository.stamp(tmp_path / "1") == ()


def looking(folder: Path) -> Callable[[], Awaitable[Sequence[PublishedModel]]]:
    async def look() -> Sequence[PublishedModel]:
        return repository.scan(folder)

    return look


async def test_the_first_look_raises_what_goes_wrong(tmp_path):
    async def refuse(_published: Sequence[PublishedModel]) -> None:
        raise SettingsError("no such device")

    make_bundle(tmp_path)
    with pytest.raises(SettingsError, match="no such device"):
        await repository.watch(looking(tmp_path), 0.01, refuse)


async def test_an_interval_of_0_looks_once(tmp_path):
    looks = []

    async def look(published: Sequence[PublishedModel]) -> None:
        looks.append(published)

    make_bundle(tmp_path)
    await repository.watch(looking(tmp_path), 0, look)
    assert len(looks) == 1


async def test_a_later_look_that_fails_is_logged_and_the_next_one_comes(tmp_path, caplog):
    """A device that is lost, even a defect of our own: what is loaded goes on."""
    outcomes = [None, SettingsError("no such device"), RuntimeError("a defect"), None]
    looked_again = asyncio.Event()

    async def look(_published: Sequence[PublishedModel]) -> None:
        outcome = outcomes.pop(0)
        if not outcomes:
            looked_again.set()
        if outcome:
            raise outcome

    make_bundle(tmp_path)
    watching = asyncio.ensure_future(repository.watch(looking(tmp_path), 0.001, look))
    await looked_again.wait()
    watching.cancel()
    assert problems(caplog) == ["no such device", None]
    assert "a defect" in caplog.text


async def test_a_repository_that_is_unplugged_for_a_while_is_followed_again(tmp_path, caplog):
    looks: asyncio.Queue[Sequence[PublishedModel]] = asyncio.Queue()
    make_bundle(tmp_path / "models")
    watching = asyncio.ensure_future(repository.watch(looking(tmp_path / "models"), 0.001, looks.put))
    await looks.get()
    (tmp_path / "models").rename(tmp_path / "unplugged")
    while not problems(caplog):  # noqa: ASYNC110 - the log has no event
        await asyncio.sleep(0.001)
    while not looks.empty():
        looks.get_nowait()
    (tmp_path / "unplugged").rename(tmp_path / "models")
    assert [each.name for each in await looks.get()] == ["tiny"]
    watching.cancel()
    assert "can't be listed" in problems(caplog)[0]


def problems(caplog: pytest.LogCaptureFixture) -> list[str | None]:
    """What the log says was wrong, one a line; None where it shows a traceback instead."""
    return [getattr(record, "problem", None) for record in caplog.records]
