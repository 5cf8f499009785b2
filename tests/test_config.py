"""The settings hold their own limits, and every one of them is documented."""

import dataclasses
from pathlib import Path

import pytest

from service.config import Settings, flag, variable
from service.errors import SettingsError


def settings(**values: object) -> Settings:
    return Settings(repository=Path("models"), **values)


def test_the_defaults_are_within_the_limits():
    assert settings().port == 8500


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"port": -1}, "--port is -1, it must be between 0 and 65535"),
        ({"port": 65536}, "--port is 65536, it must be between 0 and 65535"),
        ({"metrics_port": 70000}, "--metrics-port is 70000, it must be between 0 and 65535"),
        ({"max_batch_size": -1}, "--max-batch-size is -1, it must be at least 0"),
        ({"instances": -1}, "--instances is -1, it must be at least 0"),
        ({"latency_target": 0}, "--latency-target is 0, it must be at least 0.1"),
        ({"threads": -1}, "--threads is -1, it must be at least 0"),
        ({"max_pending": 0}, "--max-pending is 0, it must be at least 1"),
        ({"max_message_mb": 2048}, "--max-message-mb is 2048, it must be between 1 and 2047"),
        ({"batch_timeout": 0}, "--batch-timeout is 0, it must be at least 0.01"),
        ({"drain_timeout": -0.1}, "--drain-timeout is -0.1, it must be between 0 and 604800"),
        ({"drain_delay": float("inf")}, "--drain-delay is inf, it must be between 0 and 604800"),
        ({"max_connection_age": 1e7}, "--max-connection-age is 10000000.0, it must be between 0 and 604800"),
        ({"poll_interval": float("nan")}, "--poll-interval is nan, it must be between 0 and 604800"),
    ],
)
def test_a_number_outside_its_limits_is_refused_with_them(values, sentence):
    with pytest.raises(SettingsError) as refused:
        settings(**values)
    assert str(refused.value) == sentence


def test_the_limits_themselves_are_allowed():
    assert settings(port=0, metrics_port=65535, max_message_mb=2047, poll_interval=0).max_message_mb == 2047


@pytest.mark.parametrize(
    ("values", "threads"),
    [
        ({}, 0),
        ({"threads": 1}, 0),  # the plan may take an instance for each core
        ({"threads": 2, "instances": 3}, 6),
        ({"instances": 3}, 0),
        ({"threads": 2, "workers": 4}, 2),
        ({"threads": 2, "workers": 4, "instances": 3}, 6),
    ],
)
def test_as_many_threads_decode_as_run_a_model_where_that_is_settled(values, threads):
    assert settings(**values).decoding_threads == threads


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("knob", dataclasses.fields(Settings), ids=lambda knob: knob.name)
def test_every_setting_is_documented_in_a_sentence(knob):
    assert knob.metadata["doc"].endswith(".")


def test_a_setting_has_one_spelling_everywhere():
    assert (flag("max_batch_size"), variable("max_batch_size")) == ("--max-batch-size", "CONVOY_MAX_BATCH_SIZE")
