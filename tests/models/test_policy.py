"""The version policy: what its text means and which versions it chooses."""

import pytest

from service.errors import SettingsError
from service.models.policy import Policy

PUBLISHED = (2, 3, 9, 10)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("latest", {10}),
        ("latest:1", {10}),
        ("latest:3", {3, 9, 10}),
        ("latest:99", {2, 3, 9, 10}),
        ("all", {2, 3, 9, 10}),
        ("specific:3", {3}),
        ("specific:2,9", {2, 9}),
        ("specific:1,10", {10}),
    ],
)
def test_what_a_policy_chooses(text, chosen):
    assert Policy.parse(text).choose(PUBLISHED) == chosen


@pytest.mark.parametrize("text", ["latest", "all", "specific:1"])
def test_nothing_is_chosen_of_nothing(text):
    assert Policy.parse(text).choose(()) == frozenset()


@pytest.mark.parametrize(
    "text", ["", "newest", "latest:", "latest:0", "latest:-1", "latest: 2", "specific:", "specific:1,", "specific:01"]
)
def test_what_is_no_policy_is_told_with_what_is(text):
    with pytest.raises(SettingsError) as refused:
        Policy.parse(text)
    assert str(refused.value) == (
        f"version policy {text!r} is not known; it is one of latest:N, all, or specific:N,N,... "
        'as in "latest:2" or "specific:1,3"'
    )
