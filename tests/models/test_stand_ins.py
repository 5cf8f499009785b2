"""What serves when the version that the policy wants can't be loaded, from the start on; and when it is tried again."""

from pathlib import Path

from bundles import make_bundle
from servers import leased
from watched import Watched

from service.models.version import ModelQuery, State

TINY = ModelQuery("tiny")


def spoil(path: Path) -> bytes:
    good = path.read_bytes()
    path.write_bytes(good + b"\0")
    return good


async def test_a_fresh_server_serves_the_version_before_one_that_can_not_be_loaded(watched):
    make_bundle(watched.folder, version=1)
    broken = make_bundle(watched.folder, version=2, seed=2).path / "model.onnx"
    good = spoil(broken)
    await watched.follow()
    assert watched.states() == {1: State.READY, 2: State.UNAVAILABLE}
    with leased(watched.registry, TINY) as servable:
        assert servable.bundle.version == 1
    broken.write_bytes(good)
    await watched.follow()
    assert watched.states()[2] is State.READY
    with leased(watched.registry, TINY) as servable:
        assert servable.bundle.version == 2
    await watched.registry.close()
    assert watched.states() == {}


async def test_the_next_older_one_is_taken_until_one_works_and_none_is_opened_twice(watched):
    for version in (1, 2, 3, 4):
        bundle = make_bundle(watched.folder, version=version, seed=version)
        if version > 2:
            spoil(bundle.path / "model.onnx")
    await watched.follow()
    await watched.follow()
    assert watched.states() == {2: State.READY, 3: State.UNAVAILABLE, 4: State.UNAVAILABLE}
    assert [int(path.name) for path in watched.loads] == [4, 3, 2]


async def test_a_stand_in_that_failed_is_forgotten_when_it_is_not_needed_any_more(watched):
    broken = {}
    for version in (1, 2, 3):
        model = make_bundle(watched.folder, version=version, seed=version).path / "model.onnx"
        broken[version] = (model, spoil(model))
    await watched.follow()
    assert watched.states() == dict.fromkeys((1, 2, 3), State.UNAVAILABLE)
    model, good = broken[3]
    model.write_bytes(good)
    await watched.follow()
    assert watched.states() == {3: State.READY}


async def test_who_names_a_version_gets_no_other(tmp_path):
    make_bundle(tmp_path, version=1)
    spoil(make_bundle(tmp_path, version=2, seed=2).path / "model.onnx")
    watched = Watched(tmp_path, version_policy="specific:2")
    await watched.follow()
    assert watched.states() == {2: State.UNAVAILABLE}
    await watched.registry.close()


async def test_a_version_that_failed_is_tried_again_after_a_pause(tmp_path):
    spoil(make_bundle(tmp_path).path / "model.onnx")
    watched = Watched(tmp_path, retry_seconds=0.0)
    await watched.follow()
    await watched.follow()
    assert len(watched.loads) == 2
    assert watched.states() == {1: State.UNAVAILABLE}
    await watched.registry.close()


async def test_where_a_labelled_version_stands_in_no_older_one_is_kept_for_that(watched):
    for version in (1, 2):
        make_bundle(watched.folder, version=version, seed=version)
        await watched.follow()
        await watched.registry.set_label("tiny", "stable", version)
        await watched.registry.set_label("tiny", f"of-{version}", version)
    make_bundle(watched.folder, version=3, seed=3, corrupt_golden=True)
    await watched.follow()
    assert watched.states() == {1: State.READY, 2: State.READY, 3: State.UNAVAILABLE}
    await watched.registry.delete_label("tiny", "of-1")
    assert watched.states()[1] is State.UNLOADING


async def test_a_labelled_version_stands_in_only_where_no_newer_one_can(watched):
    make_bundle(watched.folder, version=1)
    await watched.follow()
    await watched.registry.set_label("tiny", "stable", 1)
    make_bundle(watched.folder, version=2, seed=2)
    await watched.follow()
    make_bundle(watched.folder, version=3, seed=3, corrupt_golden=True)
    await watched.follow()
    assert watched.states() == {1: State.READY, 2: State.READY, 3: State.UNAVAILABLE}
    with leased(watched.registry, TINY) as servable:
        assert servable.bundle.version == 2
