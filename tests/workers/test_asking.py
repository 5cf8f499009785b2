"""What the parent reads from its workers, and what it makes of it."""

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from service.doors import Doors
from service.telemetry.http import HttpServer
from service.telemetry.metrics import Metrics
from service.workers import asking


@pytest.fixture(params=["abstract", "file"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("only Linux has abstract addresses")
    return Doors().address("door") if request.param == "abstract" else str(tmp_path / "door")


@pytest.fixture
def metrics(door: str) -> Iterator[Metrics]:
    """A worker's metrics, served behind the door."""
    metrics = Metrics()
    server = HttpServer(door, 0, metrics.registry, live=lambda: None, ready=lambda: "tiny 1 LOADING")
    server.start()
    yield metrics
    server.stop()


def exposed(texts: dict[int, str]) -> CollectorRegistry:
    """A registry of what is gathered from these texts."""

    class Gathered(Collector):
        def collect(self):
            return asking.gathered(texts)

    registry = CollectorRegistry()
    registry.register(Gathered())
    return registry


def test_the_paths_of_a_worker(door, metrics):
    assert asking.get(door, "/livez") == (200, "ok\n")
    assert asking.get(door, "/readyz") == (503, "tiny 1 LOADING\n")
    assert asking.get(door, "/other")[0] == 404


def test_every_kind_of_metric_is_told_per_worker(door, metrics):
    metrics.call("Classify", "OK").observe(0.003)
    metrics.version("tiny", 1).images.inc(7)
    metrics.state("tiny", 1, "READY")
    metrics.build(version="1")
    text = asking.get(door, "/metrics")[1]
    registry = exposed({0: text, 3: text})
    for worker in ("0", "3"):
        tiny = {"model": "tiny", "version": "1", "worker": worker}
        call = {"method": "Classify", "code": "OK", "worker": worker}
        assert registry.get_sample_value("convoy_images_total", tiny) == 7
        assert registry.get_sample_value("convoy_model_state", {**tiny, "state": "READY"}) == 1
        assert registry.get_sample_value("convoy_call_seconds_bucket", {**call, "le": "0.005"}) == 1
        assert registry.get_sample_value("convoy_call_seconds_bucket", {**call, "le": "0.0025"}) == 0
        assert registry.get_sample_value("convoy_call_seconds_sum", call) == 0.003
        assert registry.get_sample_value("convoy_build_info", {"version": "1", "worker": worker}) == 1
        assert registry.get_sample_value("process_open_fds", {"worker": worker})


def test_the_models_that_any_worker_has_ready(door, metrics):
    for model, state in (("tiny", "READY"), ("new", "UNAVAILABLE"), ("slow", "LOADING")):
        metrics.state(model, 1, state)
    text = asking.get(door, "/metrics")[1]
    assert asking.ready_models({0: text}) == {"tiny"}
    metrics.state("new", 2, "READY")
    assert asking.ready_models({0: text, 1: asking.get(door, "/metrics")[1]}) == {"tiny", "new"}
    assert asking.ready_models({}) == set()


def test_a_worker_that_is_not_there_is_an_error_at_once(door):
    with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
        asking.get(door, "/livez")


def test_a_worker_that_does_not_answer_is_given_up(door, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(door)
        mute.listen()
        with pytest.raises(TimeoutError):
            asking.get(door, "/livez")


def test_what_is_no_http_is_no_answer(door):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(door)
        other.listen()

        def babble() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"what?\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(ConnectionError, match="no HTTP"):
            asking.get(door, "/livez")
        thread.join()
