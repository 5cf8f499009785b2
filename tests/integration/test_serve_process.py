"""`convoy serve` as users run it: a process, asked through our own client, watched over HTTP, ended by a signal."""

import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bundles import encode
from expected import scores
from servers import LOCALHOST, ServeProcess, arguments, process

import convoy

PICTURES = [encode(each) for each in np.random.default_rng(0).integers(0, 256, (20, 11, 13, 3), dtype=np.uint8)]


@dataclass(frozen=True)
class Running:
    """A process that is READY, and where it listens."""

    process: ServeProcess
    grpc: str
    http: str

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.http}{path}") as reply:
            return reply.read().decode()


@pytest.fixture(scope="module")
def running(repository) -> Iterator[Running]:
    with process(*arguments(repository)) as started:
        ports = started.logged("listening")
        started.logged("model state", model="tiny", version=1, state="READY")
        yield Running(started, f"{LOCALHOST}:{ports['grpc_port']}", f"{LOCALHOST}:{ports['http_port']}")


def test_the_client_gets_the_model_s_scores(running, tiny):
    with convoy.Client(running.grpc) as client:
        answers = client.classify_many(PICTURES, model="tiny", top_k=3)
    for answer, wanted in zip(answers, scores(tiny, PICTURES), strict=True):
        assert [each.index for each in answer.classes] == np.argsort(-wanted).tolist()
        np.testing.assert_allclose([each.score for each in answer.classes], -np.sort(-wanted), atol=1e-6)


def test_the_client_gets_errors_in_place(running):
    with convoy.Client(running.grpc) as client:
        good, bad, other = client.classify_many([PICTURES[0], b"no picture", PICTURES[1]], model="tiny")
    assert isinstance(bad, convoy.ImageRejected)
    assert good.best.label in {"red", "green", "blue"}
    assert other.best.label in {"red", "green", "blue"}


async def test_the_asyncio_client_gets_the_same(running):
    async with convoy.AsyncClient(running.grpc) as client:
        answer = await client.classify(PICTURES[0], model="tiny")
        [model] = await client.list_models()
    assert (answer.model, answer.version, model.name) == ("tiny", 1, "tiny")


def test_what_was_asked_is_in_the_metrics(running):
    with convoy.Client(running.grpc) as client:
        client.classify(PICTURES[0], model="tiny")
    metrics = running.get("/metrics")
    assert 'convoy_model_state{model="tiny",state="READY",version="1"} 1.0' in metrics
    assert 'convoy_call_seconds_count{code="OK",method="Classify"}' in metrics
    assert 'convoy_pending_images{model="tiny",version="1"} 0.0' in metrics
    assert running.get("/livez") == running.get("/readyz") == "ok\n"


def test_an_onnx_bundle_is_served_without_tensorflow(running):
    """Looks at the libraries that the process has loaded, after it has answered."""
    with convoy.Client(running.grpc) as client:
        client.classify(PICTURES[0], model="tiny")
    libraries = Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "onnxruntime" in libraries
    assert "tensorflow" not in libraries
    assert "keras" not in libraries


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0(repository, number):
    with process(*arguments(repository)) as started:
        started.logged("model state", state="READY")
        started.signal(number)
        assert started.ended() == 0
    assert '"event": "draining"' in "".join(started.lines)
    assert '"event": "stopped"' in started.lines[-1]
    assert not any("Traceback" in line for line in started.lines)


def test_a_signal_right_after_the_start_ends_it_too(repository):
    with process(*arguments(repository)) as started:
        started.logged("listening")
        started.signal()
        assert started.ended() == 0
    assert not any("Traceback" in line for line in started.lines)


def test_a_second_signal_ends_it_at_once(repository):
    with process(*arguments(repository, "--drain-delay", "1000")) as started:
        started.logged("listening")
        started.signal()
        started.logged("draining")
        started.signal()
        assert started.ended() == -signal.SIGTERM


def test_settings_come_from_the_environment_too(repository):
    environment = {"CONVOY_REPOSITORY": str(repository), "CONVOY_PORT": "0", "CONVOY_METRICS_PORT": "0"}
    environment |= {"CONVOY_HOST": LOCALHOST, "CONVOY_LOG_FORMAT": "json", "CONVOY_THREADS": "1"}
    with process(environment=environment) as started:
        started.logged("listening")
        assert "1 thread" in started.logged("model state", state="READY")["runs_on"]
