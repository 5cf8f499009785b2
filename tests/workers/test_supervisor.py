"""The parent itself, with workers that are no servers. With real ones: `tests/chaos/test_workers.py`."""

import asyncio
import dataclasses
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry
from servers import LOCALHOST, settings, until

from service.config import Shared
from service.doors import Doors
from service.errors import SettingsError
from service.telemetry.http import HttpServer
from service.telemetry.metrics import Metrics
from service.workers import asking, supervisor
from service.workers.orders import LOST
from service.workers.supervisor import Supervisor


@pytest.fixture
def pair(repository, monkeypatch):
    """A parent of two, whose workers run this instead of a server."""

    def make(*command: str) -> Supervisor:
        monkeypatch.setattr(supervisor, "COMMAND", command)
        return Supervisor(dataclasses.replace(settings(repository), workers=2))

    return make


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def restarts(parent: Supervisor, worker: int) -> float:
    return parent.metrics.registry.get_sample_value("convoy_worker_restarts_total", {"worker": str(worker)}) or 0


@pytest.mark.parametrize(
    ("command", "died"),
    [
        (("/nowhere/python",), ("exit_code=1", "reason=it can't be started: No such file or directory")),
        (python("print('no memory'); raise SystemExit(3)"), ("exit_code=3", "reason=no memory")),
    ],
)
async def test_a_worker_that_never_lives_is_told_of_and_tried_again(pair, caplog, command, died):
    caplog.set_level("INFO")
    parent = pair(*command)
    running = asyncio.create_task(parent.run())
    await until(lambda: restarts(parent, 0) >= 2 and restarts(parent, 1) >= 2)
    parent._stop()
    assert await running == 0
    told = [vars(record) for record in caplog.records if record.message == "worker died"]
    assert [f"exit_code={told[0]['exit_code']}", f"reason={told[0]['reason']}"] == list(died)
    assert [each["restart_in"] for each in told if each["worker"] == 0][:2] == [0.1, 0.2]


async def test_only_where_all_lose_their_runtimes_again_and_again_is_it_dead(pair, monkeypatch):
    monkeypatch.setattr(supervisor, "FIRST_WAIT_SECONDS", 0.01)
    parent = pair(*python(f"print('CUDA failure 700'); raise SystemExit({LOST})"))
    running = asyncio.create_task(parent.run())
    with monkeypatch.context() as otherwise:
        otherwise.setattr(parent._workers[0], "count", lambda _: None)  # as if it ended for some other reason
        await until(lambda: restarts(parent, 1) >= supervisor.LOST_AFTER)
        assert parent._stuck() is None
    await until(lambda: all(worker.lost() for worker in parent._workers))
    count = parent._workers[1]._losses
    assert f"worker 1: lost its runtimes {count} times in a row: CUDA failure 700" in (parent._stuck() or "")
    parent._stop()
    await running  # with whichever exit code: the stop may meet workers in the first moment of their next life


@pytest.mark.parametrize("end", ["another end", "a long life"])
async def test_a_worker_that_keeps_its_runtimes_begins_anew(pair, monkeypatch, end):
    parent = pair(*python("import sys; sys.stdin.read()"))
    for worker in parent._workers:
        for _ in range(supervisor.LOST_AFTER):
            worker.began = time.monotonic()
            worker.count("CUDA failure 700")
    running = asyncio.create_task(parent.run())
    await until(lambda: all(worker.process for worker in parent._workers))
    assert parent._stuck()
    if end == "a long life":
        monkeypatch.setattr(supervisor, "LONGEST_WAIT_SECONDS", 0.0)
    else:
        parent._workers[0].tell(signal.SIGKILL)
        await until(lambda: restarts(parent, 0) == 1)
    assert parent._stuck() is None
    parent._stop()
    assert await running == 0


async def test_a_mistake_at_the_first_start_ends_it_with_the_sentence(pair):
    parent = pair(*python("print('the device is not there'); raise SystemExit(2)"))
    with pytest.raises(SettingsError, match=r"^the device is not there$"):
        await parent.run()


def test_a_mistake_of_the_parent_leaves_nothing_behind(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server((LOCALHOST, 0)) as taken:
        chosen = settings(repository, workers=2, metrics_port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match="--metrics-port"):
            Supervisor(chosen)
    assert list(tmp_path.iterdir()) == []


async def test_a_worker_that_does_not_drain_is_seen_in_the_exit_code(pair, caplog, tmp_path):
    """Each worker leaves a file when it can be told to end, and then ends in another way."""
    obstinate = "import os, signal, sys; signal.signal(15, lambda *_: sys.exit(5))"
    parent = pair(*python(f"{obstinate}; open(f'{tmp_path}/{{os.getpid()}}', 'w'); sys.stdin.read()"))
    running = asyncio.create_task(parent.run())
    await until(lambda: len(list(tmp_path.iterdir())) == 2)
    parent._stop()
    assert await running == 1
    told = [vars(record) for record in caplog.records if record.message == "worker did not drain"]
    assert [each["exit_code"] for each in told] == [5, 5]


async def test_before_its_workers_answer_it_is_alive_and_not_ready(pair):
    parent = pair(*python("import sys; sys.stdin.read()"))
    running = asyncio.create_task(parent.run())
    await until(lambda: all(worker.process for worker in parent._workers))
    assert parent._problem() == "worker 0: starting; worker 1: starting"
    assert parent._stuck() is None
    parent._stop()
    assert parent._problem() == "draining"
    assert await running == 0


@pytest.fixture
def idle(pair) -> Iterator[Supervisor]:
    """A parent that has not begun."""
    parent = pair()
    yield parent
    parent._http._server.server_close()
    parent._guard.close()


@contextmanager
def answering(door: str, registry: CollectorRegistry) -> Iterator[None]:
    server = HttpServer(door, 0, registry, live=lambda: None, ready=lambda: None)
    server.start()
    try:
        yield
    finally:
        server.stop()


class Broken(CollectorRegistry):
    """Metrics that can't be told: HTTP then answers 500 with a sentence."""

    def collect(self):
        raise RuntimeError("a defect")


def test_all_must_be_ready_once_and_then_one_is_enough(idle):
    """While one is started again it has no connections, and a balancer must not take the others' away."""
    parent, doors = idle, Doors()
    for worker in parent._workers:
        worker.door = doors.address(str(worker.number))
    with answering(doors.address("0"), CollectorRegistry()):
        assert parent._problem() == "worker 1: starting"
        with answering(doors.address("1"), CollectorRegistry()):
            assert parent._problem() is None
        assert parent._problem() is None
    assert parent._problem() == "worker 0: starting; worker 1: starting"
    with answering(doors.address("1"), CollectorRegistry()):
        assert parent._problem() is None
    parent._stop()
    assert parent._problem() == "draining"
    doors.close()


def test_one_that_comes_back_waits_for_what_its_siblings_serve(idle):
    parent, doors, metrics = idle, Doors(), Metrics()
    metrics.state("tiny", 1, "READY")
    assert parent._shared("door") == Shared("door", frozenset())
    parent._workers[0].door = doors.address("0")
    assert parent._shared("door") == Shared("door", frozenset()), "it has a process, and no door yet"
    with answering(doors.address("0"), metrics.registry):
        assert parent._shared("door") == Shared("door", frozenset({"tiny"}))
    doors.close()


def test_a_sibling_that_answers_something_odd_or_nothing_is_not_taken_to_serve_nothing(idle, monkeypatch, capfd):
    parent, doors = idle, Doors()
    unsure = Shared("door", frozenset(), unsure=True)
    parent._workers[1].door = doors.address("1")
    with answering(doors.address("1"), Broken()):
        assert asking.get(doors.address("1"), "/metrics")[0] == 500
        assert parent._shared("door") == unsure
        parent.metrics.registry.collect()
    with monkeypatch.context() as other:
        other.setattr(asking, "get", lambda *_: (200, "A server error occurred."))
        assert parent._shared("door") == unsure
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(doors.address("2"))
        mute.listen()
        parent._workers[1].door = doors.address("2")
        monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.05)
        assert parent._shared("door") == unsure
    doors.close()
    capfd.readouterr()  # wsgiref's traceback
