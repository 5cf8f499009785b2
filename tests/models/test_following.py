"""That one model's failure is no other's, while they are brought to what the repository holds."""

import asyncio
from pathlib import Path

import pytest

from service.models.following import Following
from service.models.repository import PublishedModel

MODELS = [PublishedModel(name, Path(name), (), None) for name in ("ash", "beech", "cedar", "dogwood")]


async def test_a_model_that_fails_holds_up_none_after_it_and_the_first_failure_is_raised():
    followed = []

    async def follow(model: PublishedModel) -> None:
        followed.append(model.name)
        if model.name in ("beech", "cedar"):
            raise OSError(model.name)

    following = Following(follow, patience=10)
    for _ in range(2):
        followed.clear()
        with pytest.raises(OSError, match="beech"):
            await following.look(MODELS)
        assert followed == ["ash", "beech", "cedar", "dogwood"]


async def test_what_fails_after_its_look_is_raised_by_the_next_one_when_all_had_their_turn():
    followed, gone_on = [], asyncio.Event()

    async def follow(model: PublishedModel) -> None:
        followed.append(model.name)
        if model.name == "beech" and len(followed) > len(MODELS):
            await gone_on.wait()
            raise OSError(model.name)

    following = Following(follow, patience=0.01)
    await following.look(MODELS)
    await following.look(MODELS)
    gone_on.set()
    followed.clear()
    with pytest.raises(OSError, match="beech"):
        await following.look(MODELS)
    assert followed == ["ash", "beech", "cedar", "dogwood"]
