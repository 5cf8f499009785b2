"""A kept choice is found again for exactly what it was made for, and a damaged file harms nobody."""

import pytest
from servers import settings

from service.models.planning import cache
from service.models.planning.cache import Cache
from service.models.planning.candidates import Pins
from service.models.planning.plan import Choice, Fit, Measured, Plan

PLAN = Plan("onnx", "fp32", "exact", 1, 2, 8)
CHOICE = Choice(PLAN, "measured", (Measured(PLAN, 0.001, 900.5), Measured(PLAN, refused="no time")), Fit(0.1, 0.2))
KEY = {"manifest": "abc", "cpu": "one"}


def test_a_choice_comes_back_as_it_was(tmp_path):
    kept = Cache(tmp_path / "not" / "there" / "yet")
    assert kept.find(KEY) is None
    kept.keep(KEY, CHOICE)
    assert kept.find(KEY) == CHOICE
    assert kept.find(KEY | {"cpu": "another"}) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"made_for": {}}', b"[]"])
def test_a_damaged_file_counts_as_none_and_is_said(tmp_path, caplog, content):
    kept = Cache(tmp_path)
    kept.keep(KEY, CHOICE)
    [file] = (tmp_path / "plans").iterdir()
    file.write_bytes(content)
    assert kept.find(KEY) is None
    assert "can't be read and is made anew" in caplog.text
    kept.keep(KEY, CHOICE)
    assert kept.find(KEY) == CHOICE


def test_a_choice_for_something_else_under_the_same_name_is_not_taken(tmp_path):
    kept = Cache(tmp_path)
    kept.keep(KEY, CHOICE)
    [file] = (tmp_path / "plans").iterdir()
    file.write_bytes(file.read_bytes().replace(b"abc", b"abd"))
    assert kept.find(KEY) is None


def test_a_folder_that_can_not_be_written_costs_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    Cache(tmp_path / "file").keep(KEY, CHOICE)
    assert "the plan can't be kept" in caplog.text


@pytest.mark.parametrize(
    "others",
    [{"precision": "auto"}, {"device": "auto"}],
    ids=lambda others: next(iter(others)),
)
def test_what_a_choice_depends_on_makes_another_key(tiny, tmp_path, others):
    def made_for(pins=Pins(), **changed):  # noqa: B008
        return cache.key(tiny, settings(tmp_path, **changed), pins)

    assert made_for() == made_for(port=1)
    assert made_for(**others) != made_for()
    assert made_for(Pins(threads=5)) != made_for()
    assert made_for(Pins(latency_target=20.0)) != made_for()
    assert {"manifest", "cpu", "cores", "onnxruntime version"} <= made_for().keys()
