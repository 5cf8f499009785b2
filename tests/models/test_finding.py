"""What a caller is told where the version it means can't answer: whether waiting helps, and what there is."""

import pytest

from service.errors import ModelNotFound, ModelNotReady, ModelUnusable
from service.models.finding import by_label, by_number, none_ready, states
from service.models.version import ModelVersion, State


def versions(**told: State) -> dict[int, ModelVersion]:
    """Versions of model "tiny" without a servable, by "v" and number."""
    of = {}
    for name, state in told.items():
        version = of[int(name[1:])] = ModelVersion("tiny", int(name[1:]))
        version.state, version.reason = state, "it is damaged" if state is State.UNAVAILABLE else ""
    return of


def held(number: int) -> bool:
    """Whether the repository has the version."""
    return number < 5


async def test_what_is_ready_is_found():
    of = versions(v1=State.READY, v2=State.LOADING)
    assert by_number(of, "tiny", 1) is by_label(of, "tiny", "stable", {"stable": 1}, held) is of[1]


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (2, ModelNotReady, "which is not READY; it has: 2 LOADING, 3 UNAVAILABLE (it is damaged)"),
        (3, ModelUnusable, "which is not READY; it has: 2 LOADING, 3 UNAVAILABLE (it is damaged)"),
        (4, ModelNotReady, "points to version 4, which is not READY"),
        (5, ModelUnusable, "points to version 5, which is not in the repository; it has: 2 LOADING"),
    ],
)
async def test_a_label_without_an_answer_says_whether_waiting_helps(number, kind, sentence):
    with pytest.raises(kind) as refused:
        by_label(versions(v3=State.UNAVAILABLE, v2=State.LOADING), "tiny", "stable", {"stable": number}, held)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (2, ModelNotReady, "version 2 of model 'tiny' is LOADING"),
        (3, ModelUnusable, "version 3 of model 'tiny' is UNAVAILABLE: it is damaged"),
        (4, ModelNotFound, "model 'tiny' has no version 4; it has: 2 LOADING, 3 UNAVAILABLE (it is damaged)"),
    ],
)
async def test_a_number_without_an_answer_says_whether_waiting_helps(number, kind, sentence):
    with pytest.raises(kind) as refused:
        by_number(versions(v2=State.LOADING, v3=State.UNAVAILABLE), "tiny", number)
    assert str(refused.value) == sentence


async def test_only_where_all_have_failed_waiting_is_in_vain():
    failed = versions(v1=State.UNAVAILABLE)
    assert type(none_ready(failed, "tiny", "")) is ModelUnusable
    assert type(none_ready(failed | versions(v2=State.LOADING), "tiny", "")) is ModelNotReady
    nothing = none_ready({}, "tiny", "convoy.toml is not TOML")
    assert type(nothing) is ModelNotReady
    assert str(nothing) == "model 'tiny' has no READY version: convoy.toml is not TOML"
    assert states({}) == "no version"
