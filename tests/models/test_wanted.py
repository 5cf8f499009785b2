"""Which versions are loaded under a policy, and what a model's file that is wrong does: nothing new."""

import shutil

import pytest
from bundles import make_bundle
from servers import until
from watched import Watched

from service.errors import ModelNotReady, ModelUnusable
from service.models import repository
from service.models.labels import Labels
from service.models.policy import Policy
from service.models.version import ModelQuery, State
from service.models.wanted import Wanted
from service.telemetry.metrics import Metrics

TINY = ModelQuery("tiny")
READY = State.READY


def publish(watched: Watched, *versions: int) -> None:
    for version in versions:
        make_bundle(watched.folder, version=version, seed=version)


def write(watched: Watched, text: str) -> None:
    (watched.folder / "tiny" / "convoy.toml").write_text(text)


async def ready(watched: Watched, *versions: int) -> None:
    await watched.follow()
    await until(lambda: watched.states() == dict.fromkeys(versions, READY))


@pytest.mark.parametrize(("policy", "loaded"), [("latest:2", (2, 3)), ("all", (1, 2, 3)), ("specific:1,3", (1, 3))])
async def test_the_server_s_policy_says_what_is_loaded(tmp_path, policy, loaded):
    watched = Watched(tmp_path, version_policy=policy)
    publish(watched, 1, 2, 3)
    await ready(watched, *loaded)
    assert watched.registry.find(TINY).number == 3
    await watched.registry.close()


async def test_of_a_model_that_a_later_look_no_longer_found_nothing_is_to_be_loaded(tmp_path):
    make_bundle(tmp_path)
    wanted = Wanted(Policy(), Labels(None), Metrics())
    [model] = repository.scan(tmp_path)
    wanted.take([model])
    assert list(wanted.to_load(model)) == [1]
    wanted.take([])
    assert list(wanted.to_load(model)) == []


async def test_a_plan_that_could_not_be_followed_is_tried_again_where_it_failed(tmp_path, monkeypatch):
    """A mount that stalls passes; what the file says does not change meanwhile."""
    watched = Watched(tmp_path, version_policy="all")
    publish(watched, 1, 2)
    await ready(watched, 1, 2)
    refused, asked, replan = {2}, [], watched._loader.replan

    async def noted(servable, pinned):
        asked.append(servable.bundle.version)
        if servable.bundle.version in refused:
            raise ModelUnusable("it may hang")
        await replan(servable, pinned)

    monkeypatch.setattr(watched._loader, "replan", noted)
    write(watched, "[plan]\nmax_batch_size = 4\n")
    await watched.follow()
    assert (asked, watched.registry.problem("tiny")) == ([1, 2], "it may hang")
    refused.clear()
    await watched.follow()
    assert (asked, watched.registry.problem("tiny")) == ([1, 2, 2], "")
    await watched.follow()
    assert asked == [1, 2, 2]
    await watched.registry.close()
    await watched._loader.close()


async def test_the_latest_two_follow_what_is_published(tmp_path):
    watched = Watched(tmp_path, version_policy="latest:2")
    publish(watched, 1, 2)
    await ready(watched, 1, 2)
    publish(watched, 3)
    await ready(watched, 2, 3)
    assert len(watched.loads) == 3
    await watched.registry.close()


async def test_an_old_version_stands_in_for_a_new_one_that_fails(tmp_path):
    watched = Watched(tmp_path, version_policy="latest:2")
    publish(watched, 1, 2)
    await watched.follow()
    make_bundle(tmp_path, version=3, corrupt_golden=True)
    await watched.follow()
    assert watched.states() == {1: READY, 2: READY, 3: State.UNAVAILABLE}
    publish(watched, 4)
    await watched.follow()
    await until(lambda: watched.states() == {2: READY, 3: State.UNAVAILABLE, 4: READY})
    await watched.registry.close()


async def test_a_model_s_own_policy_wins_and_may_change(watched):
    publish(watched, 1, 2, 3)
    make_bundle(watched.folder, "other", version=1)
    make_bundle(watched.folder, "other", version=2)
    write(watched, '[versions]\npolicy = "specific:1"\n')
    await ready(watched, 1)
    assert watched.states("other") == {2: READY}
    write(watched, '[versions]\npolicy = "all"\n')
    await ready(watched, 1, 2, 3)
    (watched.folder / "tiny" / "convoy.toml").unlink()
    await ready(watched, 3)


async def test_calls_that_name_no_version_go_to_the_policy_s_and_not_to_a_canary(watched):
    publish(watched, 1, 2)
    write(watched, '[versions]\npolicy = "specific:1"\n[labels]\ncanary = 2\n')
    await ready(watched, 1, 2)
    assert watched.loads[0].name == "1"
    assert watched.registry.find(TINY).number == 1
    assert watched.registry.find(ModelQuery("tiny", label="canary")).number == 2


async def test_a_pinned_version_that_is_not_published_is_said_and_the_old_one_goes_on(watched):
    publish(watched, 1)
    await watched.follow()
    write(watched, '[versions]\npolicy = "specific:7,8"\n')
    await watched.follow()
    assert watched.states() == {1: READY}
    assert watched.registry.problem("tiny") == "the policy wants [7, 8], which the repository does not hold"


async def test_a_file_that_goes_wrong_changes_nothing_and_says_so_once(watched, caplog):
    publish(watched, 1, 2)
    write(watched, '[versions]\npolicy = "specific:1"\n[labels]\nstable = 1\n')
    await watched.follow()
    write(watched, '[versions]\npolicy = "all\n')
    await watched.follow()
    await watched.follow()
    assert watched.states() == {1: READY}
    assert watched.registry.labels("tiny") == {"stable": 1}
    assert "convoy.toml is not TOML: " in watched.registry.problem("tiny")
    said = [record for record in caplog.records if record.message == "model problem, what it had goes on"]
    assert len(said) == 1
    write(watched, '[versions]\npolicy = "all"\n')
    await ready(watched, 1, 2)
    assert watched.registry.problem("tiny") == ""


async def test_of_mistakes_one_after_the_other_only_the_one_that_stands_there_now_is_told(watched, caplog):
    publish(watched, 1, 2)
    write(watched, "")
    await watched.follow()
    mistakes = {
        "[plan]\nthreads = -1\n": "[plan] threads is -1, it must be a whole number of at least 1",
        "[plan\nthreads = -1\n": "is not TOML",
        '[versions]\npolicy = "specific:7"\n': "the policy wants [7], which the repository does not hold",
        '[plan]\nvariant = "int9"\n': "there is no variant 'int9'",
        '[versions]\npolicy = "newest"\n': "version policy 'newest' is not known",
        "[labels]\nstable = 9\n": "label 'stable' points nowhere, because version 9 is not in the repository",
        "[labels]\nstable = 0\n": "[labels] stable is 0",
    }
    for text, told in mistakes.items():
        write(watched, text)
        await watched.follow()
        problem = watched.registry.problem("tiny")
        assert [mistake for mistake in mistakes.values() if mistake in problem] == [told]
        assert problem.count("convoy.toml") <= 1
        assert watched.states() == {2: READY}
    write(watched, "")
    await watched.follow()
    assert watched.registry.problem("tiny") == ""


async def test_a_version_that_comes_while_the_file_is_wrong_is_loaded_by_what_it_last_said(watched):
    publish(watched, 1)
    write(watched, "[plan]\nmax_batch_size = 4\n")
    await watched.follow()
    write(watched, "[plan]\nmax_batch_size = -4\n")
    publish(watched, 2)
    await ready(watched, 2)
    servable = watched.registry.find(TINY).servable
    assert servable.choice.plan.max_batch_size == 4


async def test_a_file_that_is_wrong_from_the_beginning_loads_nothing_until_it_is_right(watched):
    """What it is meant to say can't be known: serving the latest version could be just what it forbids."""
    publish(watched, 1)
    write(watched, "[versions")
    await watched.follow()
    assert watched.registry.models() == {"tiny": []}
    assert not watched.registry.ready("tiny")
    with pytest.raises(ModelNotReady, match=r"model 'tiny' has no READY version: .*convoy\.toml is not TOML"):
        watched.registry.find(TINY)
    write(watched, "")
    await ready(watched, 1)


async def test_a_model_that_leaves_takes_its_labelled_versions_and_its_problem_with_it(watched):
    publish(watched, 1)
    await watched.follow()
    await watched.registry.set_label("tiny", "stable", 1)
    write(watched, "[versions")
    await watched.follow()
    shutil.rmtree(watched.folder / "tiny")
    await ready(watched)
    assert watched.registry.models() == {}
