"""The parent of `--workers N`: starts the workers, watches over them, and speaks for them over HTTP.

It touches no request. A worker that ends by itself is started again, the sooner the longer it had lived; the others
serve on. One that has lost its runtimes ends so; only where all do that again and again does `/livez` fail. SIGTERM and
SIGINT go to every worker and the parent ends when all have drained. What a worker finds wrong with the settings at the
first start ends the server, as it would without workers.
"""

import asyncio
import dataclasses
import logging
import os
import pickle
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from service.config import Settings, Shared
from service.doors import Doors
from service.errors import SettingsError
from service.models import repository
from service.runtimes.usable import usable_cores
from service.telemetry.http import HttpServer
from service.telemetry.metrics import WorkersMetrics
from service.workers import asking
from service.workers.orders import LOST, MISTAKE, Orders
from service.workers.port import reserve

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "service.workers.worker")

# Waits before a worker is started again: short for the accident, doubled while it goes on dying young.
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 30.0
GROWN_UP_SECONDS = 60.0
# Lives in a row in which a worker did not grow up and lost its runtimes, after which one more is not what helps.
LOST_AFTER = 3

# A worker that was told to end before it could listen to signals had taken nothing yet; one that has lost its runtimes
# drains before it ends.
DRAINED = (0, LOST, -signal.SIGTERM)


class Supervisor:
    """The workers of one server. Raises SettingsError from its constructor or `run` for a start-up mistake."""

    def __init__(self, settings: Settings) -> None:
        repository.check(settings.repository)
        self._guard, self.port = reserve(settings.host, settings.port)
        self._settings = dataclasses.replace(
            settings,
            port=self.port,
            threads=settings.threads or max(1, usable_cores() // settings.workers),
        )
        self._workers = [_Worker(number) for number in range(settings.workers)]
        self.metrics = WorkersMetrics()
        self.metrics.registry.register(_Gathered(self._workers))
        try:
            self._http = HttpServer(
                settings.host, settings.metrics_port, self.metrics.registry, live=self._stuck, ready=self._problem
            )
        except SettingsError:
            self._guard.close()
            raise
        self._stopping = asyncio.Event()
        self._mistake: SettingsError | None = None
        self._started = False

    async def run(self) -> int:
        """Serves until SIGTERM or SIGINT and gives the exit code: 0 where every worker has drained.

        A second signal ends everything at once.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._interrupt, number)
        self._doors = Doors()  # not before: where it makes a folder, a start-up mistake would leave it there
        self._http.start()
        facts = {"grpc_port": self.port, "http_port": self._http.port, "workers": len(self._workers)}
        log.info("supervising", extra=facts)
        try:
            drained = await asyncio.gather(*map(self._keep, self._workers))
        finally:
            self._http.stop()
            self._guard.close()
            self._doors.close()
        if self._mistake is not None:
            raise self._mistake
        log.info("stopped")
        return 0 if all(drained) else 1

    def _interrupt(self, number: int) -> None:
        if not self._stopping.is_set():
            self._stop()
            return
        self._tell(signal.SIGKILL)
        asyncio.get_running_loop().remove_signal_handler(number)
        os.kill(os.getpid(), number)

    def _stop(self) -> None:
        if self._stopping.is_set():
            return
        log.info("draining")
        self._stopping.set()
        self._tell(signal.SIGTERM)

    def _tell(self, number: int) -> None:
        for worker in self._workers:
            worker.tell(number)

    async def _keep(self, worker: "_Worker") -> bool:
        """Keeps one worker running until the server stops; whether it drained then."""
        wait = FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            code, said = await self._live(worker)
            if code == MISTAKE and worker.starts == 1:
                self._mistake = self._mistake or SettingsError(said)
                self._stop()
                return False
            if self._stopping.is_set():
                if code not in DRAINED:
                    log.error("worker did not drain", extra={"worker": worker.number, "exit_code": code})
                return code in DRAINED
            if worker.grown_up():
                wait = FIRST_WAIT_SECONDS
            worker.count(said if code == LOST else "")
            reason = {"reason": said} if said else {}
            facts = {"worker": worker.number, "exit_code": code, **reason, "restart_in": wait}
            log.error("worker died", extra=facts)
            self.metrics.restarts.labels(str(worker.number)).inc()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
        return True

    async def _live(self, worker: "_Worker") -> tuple[int, str]:
        """One life of a worker: its exit code and what it said at its end."""
        worker.starts += 1
        worker.began = time.monotonic()
        door = self._doors.address(f"{worker.number}-{worker.starts}")
        shared = await asyncio.to_thread(self._shared, door) if worker.starts > 1 else Shared(door)
        orders = Orders(worker.number, self._settings, shared)
        # In a session of its own, so that Ctrl-C on a terminal reaches the parent alone.
        try:
            process = await asyncio.create_subprocess_exec(*COMMAND, stdin=PIPE, stdout=PIPE, start_new_session=True)
        except OSError as error:
            return 1, f"it can't be started: {error.strerror}"
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
        process.stdin.write(pickle.dumps(orders))
        worker.process, worker.door = process, door
        log.info("worker started", extra={"worker": worker.number, "pid": process.pid})
        if self._stopping.is_set():
            worker.tell(signal.SIGTERM)
        said = await process.stdout.read()
        code = await process.wait()
        worker.process = worker.door = None
        process.stdin.close()
        return code, said.decode(errors="replace").strip()

    def _shared(self, door: str) -> Shared:
        """For a worker that comes back: it waits for the models that any other has READY now before it listens."""
        told = {worker.number: worker.metrics() for worker in self._workers}
        known = {number: text for number, text in told.items() if text is not None}
        try:
            return Shared(door, asking.ready_models(known), unsure=len(known) < len(told))
        except ValueError:  # no metrics
            return Shared(door, frozenset(), unsure=True)

    def _problem(self) -> str | None:
        """Why the server is not ready: at the first start every worker must be, after that one is enough.

        At the start all of them listen, and a model that one can't load should stop a rollout. Later one that is being
        started again takes no connections, so those who come are answered by the others. From any thread.
        """
        if self._stopping.is_set():
            return "draining"
        problems = [said for worker in self._workers if (said := worker.problem("/readyz", absent="starting"))]
        self._started = self._started or not problems
        enough = self._started and len(problems) < len(self._workers)
        return None if enough else "; ".join(problems)

    def _stuck(self) -> str | None:
        """Which workers are stuck, or why none has kept its runtimes; one that is being started again is neither."""
        stuck = [worker.problem("/livez", absent=None) for worker in self._workers]
        lost = [worker.lost() for worker in self._workers]
        return "; ".join(filter(None, stuck + (lost if all(lost) else []))) or None


class _Worker:
    """One worker's place: its number, its process while it has one, and the Unix socket where it answers HTTP."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.starts = 0
        self.began = 0.0
        """When its last life began, by the monotonic clock."""
        self._losses = 0
        self._reason = ""
        self.process: Process | None = None
        self.door: str | None = None

    def grown_up(self) -> bool:
        """Told at the end of a life: whether it was long enough for the next one to be a new beginning."""
        return time.monotonic() - self.began > GROWN_UP_SECONDS

    def count(self, reason: str) -> None:
        """Told at the end of a life why its runtimes were lost, empty where they were not."""
        before = 0 if self.grown_up() else self._losses
        self._losses, self._reason = (before + 1, reason) if reason else (0, "")

    def lost(self) -> str | None:
        """Why it does not keep its runtimes however often it is started again, or None where it does, also now that it
        has lived for longer than any wait between two lives. From any thread.
        """
        settled = self.process is not None and time.monotonic() - self.began > LONGEST_WAIT_SECONDS
        if self._losses < LOST_AFTER or settled:
            return None
        return f"worker {self.number}: lost its runtimes {self._losses} times in a row: {self._reason}"

    def tell(self, number: int) -> None:
        """Sends a signal to its process, if it has one."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def ask(self, path: str) -> tuple[int, str] | None:
        """What it answers over HTTP; None where it is not there yet.

        Raises TimeoutError where it does not answer, ValueError where that is no text. Called from any thread, while
        the loop may take the door away.
        """
        door = self.door
        try:
            return asking.get(door, path) if door is not None else None
        except TimeoutError:
            raise
        except OSError:
            return None

    def metrics(self) -> str | None:
        """Its metrics, "" where it is not there; None where it is too slow or answers something else."""
        with suppress(TimeoutError, ValueError):
            reply = self.ask("/metrics")
            if reply is None:
                return ""
            if reply[0] == HTTPStatus.OK:
                return reply[1]
        return None

    def problem(self, path: str, *, absent: str | None) -> str | None:
        """What a probe finds wrong with it, or None; `absent` where it is not there."""
        try:
            reply = self.ask(path)
        except TimeoutError:
            problem: str | None = f"no answer within {asking.PATIENCE_SECONDS:.0f} s"
        else:
            if reply is None:
                problem = absent
            else:
                status, text = reply
                problem = None if status == HTTPStatus.OK else text.strip()
        return f"worker {self.number}: {problem}" if problem else None


class _Gathered(Collector):
    """The workers' metrics, asked for when they are collected."""

    def __init__(self, workers: Iterable[_Worker]) -> None:
        self._workers = workers

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the workers are asked."""
        return ()

    def collect(self) -> Iterable[Metric]:
        texts = {worker.number: worker.metrics() for worker in self._workers}
        return asking.gathered({number: text for number, text in texts.items() if text})
