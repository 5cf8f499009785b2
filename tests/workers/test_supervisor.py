"""The parent itself, with workers that are no servers. With real ones: `tests/chaos/test_workers.py`."""

import asyncio
import dataclasses
import socket
import sys
import tempfile

import pytest
from servers import LOCALHOST, settings, until

from service.errors import SettingsError
from service.workers import supervisor
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
