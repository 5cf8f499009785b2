"""`--workers`: a worker's death costs nobody an answer, a stop loses nothing, and what is wrong is said."""

import json
import os
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

import grpc
import numpy as np
import pytest
from bundles import encode, make_bundle
from expected import scores
from servers import LOCALHOST, ServeProcess, arguments, process

import convoy
from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.runtimes.usable import usable_cores

PICTURES = [encode(each) for each in np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)]
REQUEST = pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=PICTURES)])
WORKERS = 2
CLIENTS = 8


@dataclass
class Fleet:
    """A server with workers, all of them ready."""

    process: ServeProcess
    grpc: str
    http: str
    pids: dict[int, int] = field(default_factory=dict)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}") as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def until_ready(self) -> None:
        while self.get("/readyz")[0] != 200:
            sleep(0.02)

    def sample(self, line: str) -> float:
        """The value of one series of the metrics."""
        [value] = [each.rpartition(" ")[2] for each in self.get("/metrics")[1].splitlines() if each.startswith(line)]
        return float(value)


@contextmanager
def fleet(repository: Path, transport: str, *others: str) -> Iterator[Fleet]:
    flags = arguments(repository, "--workers", str(WORKERS), "--transport", transport, *others)
    with process(*flags) as started:
        ports = started.logged("supervising")
        assert ports["workers"] == WORKERS
        running = Fleet(started, f"{LOCALHOST}:{ports['grpc_port']}", f"{LOCALHOST}:{ports['http_port']}")
        for _ in range(WORKERS):
            begun = started.logged("worker started")
            running.pids[begun["worker"]] = begun["pid"]
        running.until_ready()
        yield running


class Asking(threading.Thread):
    """Asks by our own client, which opens a connection anew every few calls, until it is told to stop."""

    def __init__(self, address: str, wanted: np.ndarray, over: threading.Event) -> None:
        super().__init__()
        self.answered = 0
        self.problems: list[str] = []
        self._address, self._wanted, self._over = address, wanted, over

    def run(self) -> None:
        try:
            while not self._over.is_set():
                with convoy.Client(self._address) as client:
                    for _ in range(20):
                        self._check(client.classify_many(PICTURES, model="tiny"))
        except Exception as error:
            self.problems.append(repr(error))

    def _check(self, answers: list[convoy.Classification]) -> None:
        best = [answer.best.score for answer in answers]
        if not np.allclose(best, self._wanted, atol=1e-6):
            self.problems.append(f"wrong: {best}")
        self.answered += 1


def test_a_killed_worker_costs_no_client_an_answer_and_comes_back(repository, tiny, transport):
    over = threading.Event()
    with fleet(repository, transport) as running:
        callers = [Asking(running.grpc, scores(tiny, PICTURES).max(axis=1), over) for _ in range(CLIENTS)]
        for caller in callers:
            caller.start()
        for number in (0, 1):
            before = [caller.answered for caller in callers]
            while any(caller.answered < was + 20 for caller, was in zip(callers, before, strict=True)):
                assert [caller.problems for caller in callers] == [[]] * CLIENTS
                sleep(0.01)
            os.kill(running.pids[number], signal.SIGKILL)
            died = running.process.logged("worker died", worker=number)
            assert (died["exit_code"], died["restart_in"]) == (-signal.SIGKILL, 0.1)
            running.pids[number] = running.process.logged("worker started", worker=number)["pid"]
            running.process.logged("model state", worker=number, state="READY")
            running.process.logged("listening", worker=number)  # only then, so it refuses nobody while it loads
        over.set()
        for caller in callers:
            caller.join()
        running.until_ready()
        assert [running.sample(f'convoy_worker_restarts_total{{worker="{number}"}}') for number in (0, 1)] == [1, 1]
        running.process.signal()
        assert running.process.ended() == 0
    assert [caller.problems for caller in callers] == [[]] * CLIENTS
    assert not any("Traceback" in line for line in running.process.lines)


class Loop(threading.Thread):
    """Asks in a closed loop on a connection of its own until a call fails; then `failure` says how."""

    def __init__(self, address: str, answered: threading.Semaphore) -> None:
        super().__init__()
        self.answers = 0
        self.failure = ("", "")
        self._address, self._answered = address, answered

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            stub = classifier_pb2_grpc.ClassifierStub(channel)
            try:
                while True:
                    assert len(stub.Classify(REQUEST).results) == len(PICTURES)
                    self.answers += 1
                    self._answered.release()
            except grpc.RpcError as error:
                self.failure = (error.code().name, error.details())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_loses_no_accepted_call(repository, transport, number):
    answered = threading.Semaphore(0)
    with fleet(repository, transport) as running:
        callers = [Loop(running.grpc, answered) for _ in range(CLIENTS)]
        for caller in callers:
            caller.start()
        for _ in range(10 * CLIENTS):
            answered.acquire()
        running.process.signal(number)
        for caller in callers:
            caller.join()
        assert running.process.ended() == 0
    assert [caller.failure[0] for caller in callers] == ["UNAVAILABLE"] * CLIENTS, [each.failure for each in callers]
    entries = [json.loads(line) for line in running.process.lines]
    stopped = [entry.get("worker") for entry in entries if entry["event"] == "stopped"]
    assert sorted(stopped, key=str) == [0, 1, None]
    assert stopped[-1] is None


def test_a_worker_that_goes_on_dying_is_told_of_and_started_less_and_less_often(repository):
    with fleet(repository, "auto") as running:
        waits = []
        pid = running.pids[1]
        for _ in range(4):
            os.kill(pid, signal.SIGKILL)
            waits.append(running.process.logged("worker died", worker=1, exit_code=-signal.SIGKILL)["restart_in"])
            pid = running.process.logged("worker started", worker=1)["pid"]
        assert waits == [0.1, 0.2, 0.4, 0.8]
        assert running.sample('convoy_worker_restarts_total{worker="1"}') == 4
        with convoy.Client(running.grpc) as client:
            assert client.classify(PICTURES[0], model="tiny").best
        running.until_ready()


def test_a_broken_model_does_not_keep_workers_that_come_back_from_listening(tmp_path):
    """Each is killed once the other one is back: without the models that were served, nothing would listen at last."""
    make_bundle(tmp_path)
    with fleet(tmp_path, "auto", "--poll-interval", "0.1") as running:
        make_bundle(tmp_path, "broken", corrupt_golden=True)
        for number in (0, 1):
            os.kill(running.pids[number], signal.SIGKILL)
            running.process.logged("worker died", worker=number, exit_code=-signal.SIGKILL)
            running.process.logged("listening", worker=number)
            with convoy.Client(running.grpc) as client:
                assert client.classify(PICTURES[0], model="tiny").best
        running.until_ready()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract addresses")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_is_killed_leaves_no_file(repository, tmp_path, workers):
    """The log ends when the last process has closed it."""
    flags = arguments(repository, "--workers", workers, "--transport", "native")
    with process(*flags, environment={"TMPDIR": str(tmp_path)}) as running:
        running.logged("listening")
        running.signal(signal.SIGKILL)
        assert running.ended() == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_can_not_come_back_says_why_and_the_others_serve(tmp_path):
    make_bundle(tmp_path)
    with fleet(tmp_path, "auto", "--poll-interval", "0") as running:
        (tmp_path / "tiny").rename(tmp_path / ".hidden")
        os.kill(running.pids[0], signal.SIGKILL)
        running.process.logged("worker died", worker=0, exit_code=-signal.SIGKILL)
        died = running.process.logged("worker died", worker=0, exit_code=2)
        assert "holds no published version" in died["reason"]
        assert running.get("/readyz") == running.get("/livez") == (200, "ok\n")
        with convoy.Client(running.grpc) as client:
            assert client.classify(PICTURES[0], model="tiny").best
        (tmp_path / ".hidden").rename(tmp_path / "tiny")
        running.process.logged("listening", worker=0)


def test_the_workers_share_the_cores_and_their_metrics_are_on_one_port(repository, transport):
    with fleet(repository, transport, "--threads", "0") as running:
        share = max(1, usable_cores() // WORKERS)
        assert f", {share} thread" in running.process.logged("model state", state="READY")["runs_on"]
        with convoy.Client(running.grpc) as client:
            for _ in range(5):
                client.classify_many(PICTURES, model="tiny")
        series = 'convoy_images_total{{model="tiny",version="1",worker="{}"}}'
        assert sum(running.sample(series.format(number)) for number in range(WORKERS)) == 15
        state = 'convoy_model_state{{model="tiny",state="READY",version="1",worker="{}"}}'
        assert [running.sample(state.format(number)) for number in range(WORKERS)] == [1, 1]
        text = running.get("/metrics")[1]
        assert text.count("# TYPE convoy_call_seconds histogram\n") == 1
        assert text.count("# TYPE convoy_images_total counter\n") == 1


def test_without_its_parent_a_worker_ends(repository):
    """`process` reads the log to its end, which comes when the last worker has closed it."""
    with fleet(repository, "auto") as running:
        running.process.signal(signal.SIGKILL)
        assert running.process.ended() == -signal.SIGKILL
    entries = [json.loads(line) for line in running.process.lines]
    assert sorted(entry["worker"] for entry in entries if entry["event"] == "stopped") == [0, 1]


def test_a_second_signal_ends_it_at_once(repository):
    """The parent and its workers: the log's end, for which `ended` waits, comes when all of them have closed it."""
    with fleet(repository, "auto", "--drain-delay", "1000") as running:
        running.process.signal()
        for _ in range(1 + WORKERS):
            running.process.logged("draining")
        running.process.signal()
        assert running.process.ended() == -signal.SIGTERM
    assert '"event": "stopped"' not in "".join(running.process.lines)


def said(*flags: str) -> str:
    """The sentence of a start-up mistake: the only line on standard error that is no log."""
    with process(*flags) as started:
        assert started.ended() == 2, started.lines
    [sentence] = [line for line in started.lines if line.startswith("convoy")]
    assert not any("Traceback" in line for line in started.lines)
    return sentence


def test_a_start_up_mistake_that_a_worker_finds_is_said_once(repository):
    sentence = said(*arguments(repository, "--workers", "2", "--device", "cuda:99"))
    assert sentence.startswith("convoy serve: device cuda:99 ")


def test_a_second_server_on_the_port_is_an_error_with_workers_and_without(repository):
    with fleet(repository, "auto") as running:
        port = running.grpc.rpartition(":")[2]
        for workers in ("1", "2"):
            sentence = said(*arguments(repository, "--workers", workers, "--port", port))
            assert sentence.startswith(
                f"convoy serve: --port {port} can't be opened on --host {LOCALHOST}; is the port in use"
            )


def test_a_metrics_port_in_use(repository):
    with socket.create_server((LOCALHOST, 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = said(*arguments(repository, "--workers", "2", "--metrics-port", port))
    assert sentence.startswith(f"convoy serve: --metrics-port {port} can't be opened on {LOCALHOST}")
