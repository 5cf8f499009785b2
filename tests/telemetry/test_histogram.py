"""Our histogram says what the library's own would say, and no observation gets lost between threads."""

import threading

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service.telemetry.histogram import Histogram, Series

BOUNDS = (1, 2, 4.5)


@pytest.mark.parametrize("values", [[], [0.5], [1, 2, 4.5], [0, 1.0001, 4.4999, 5, 1e9], [3] * 10_000])
def test_the_exposition_is_the_library_s(values, monkeypatch):
    monkeypatch.setattr(prometheus_client.metrics, "_use_created", False)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = Histogram("rows", "Rows of a run.", ("model",), BOUNDS, ours).labels("tiny")
    other = prometheus_client.Histogram("rows", "Rows of a run.", ("model",), buckets=BOUNDS, registry=theirs)
    other = other.labels("tiny")
    for value in values:
        one.observe(value)
        other.observe(value)
    assert sorted(generate_latest(ours).splitlines()) == sorted(generate_latest(theirs).splitlines())


def test_a_series_is_bound_once():
    histogram = Histogram("rows", "Rows.", ("model",), BOUNDS, CollectorRegistry())
    assert histogram.labels("tiny") is histogram.labels("tiny")
    assert histogram.labels("tiny") is not histogram.labels("other")


def test_nothing_is_lost_or_counted_twice_while_threads_observe_and_others_read():
    series, over = Series(BOUNDS), threading.Event()

    def observe() -> None:
        for _ in range(20_000):
            series.observe(3)

    def read() -> None:
        while not over.is_set():
            series.read()

    observers, reader = [threading.Thread(target=observe) for _ in range(4)], threading.Thread(target=read)
    for thread in (*observers, reader):
        thread.start()
    for thread in observers:
        thread.join()
    over.set()
    reader.join()
    assert series.read() == ([0, 0, 80_000, 0], 240_000.0)
