"""One line an event, with its facts."""

import json
import logging
import re
import subprocess
import sys

import pytest

from service.telemetry.logs import JsonFormatter, TextFormatter


def record(message: str, *arguments: object, level: int = logging.INFO, **facts: object) -> logging.LogRecord:
    return logging.getLogger("service.test").makeRecord(
        "service.test", level, __file__, 1, message, arguments, None, extra=facts
    )


def raised() -> object:
    try:
        raise ValueError("out of ideas")
    except ValueError:
        return sys.exc_info()


def test_json_has_the_event_and_its_facts_as_fields():
    line = json.loads(JsonFormatter().format(record("model %s", "state", model="tiny", version=1, runs_on=None)))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "service.test",
        "event": "model state",
        "model": "tiny",
        "version": 1,
        "runs_on": None,
    }


def test_json_is_one_line_whatever_is_in_it():
    odd = record("two\nlines", reason="a\nb", path=object())
    odd.exc_info = raised()
    text = JsonFormatter().format(odd)
    assert "\n" not in text
    assert json.loads(text)["exception"].endswith("ValueError: out of ideas")


def test_the_time_is_utc_to_the_millisecond():
    at = record("event")
    at.created, at.msecs = 1_700_000_000.125, 125.0
    assert json.loads(JsonFormatter().format(at))["time"] == "2023-11-14T22:13:20.125Z"


def test_text_is_for_people():
    text = TextFormatter().format(record("model state", level=logging.ERROR, model="tiny", version=1))
    assert text[8:] == " error   model state model=tiny version=1"


def test_text_shows_a_traceback_below():
    bad = record("call failed")
    bad.exc_info = raised()
    assert TextFormatter().format(bad).splitlines()[-1] == "ValueError: out of ideas"


@pytest.mark.parametrize(("style", "first"), [("json", "[{]"), ("text", "[0-9]{2}:"), ("auto", "[{]")])
def test_the_log_goes_to_standard_error_in_the_style_that_was_asked_for(style, first):
    """In a process of its own: the standard library's logging belongs to the whole process."""
    program = f"""
import logging
from service.telemetry.logs import configure
configure("warning", {style!r})
logging.info("unheard")
logging.warning("heard")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == ""
    assert re.match(first, run.stderr)
    assert "heard" in run.stderr
    assert "unheard" not in run.stderr
