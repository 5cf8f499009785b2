"""From a version's folder to something that can answer: verify, plan, open, prove, then build the batcher.

The slow parts run in the threads of `service.models.quiet`, quietly where only something is read and computed, and in
the profiler's process; they touch nothing of the loop's, and none of them may take for ever. A version that does not
reproduce its golden samples on this hardware is refused with the sample and the difference. Where no other version of
the model serves, it answers as soon as any plan is open, and goes over to a better one when that is measured and
proved; else it is measured before it replaces the one that serves.
"""

import asyncio
import logging
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bundle import store
from bundle.errors import BundleError, BundleInvalid
from bundle.preprocessing import Limits
from bundle.store import Bundle
from service.batching.batcher import Batcher
from service.batching.instances import Renewal
from service.config import MEBIBYTE, Settings
from service.errors import FilesIncomplete, ModelUnusable, ServiceError, SettingsError
from service.models import golden, memory, modelfile, repository
from service.models.planning.plan import Choice, Plan
from service.models.planning.planner import Planner, Task
from service.models.quiet import Threads
from service.models.ranked import RankedRuntime
from service.models.repository import PublishedModel, Stamp
from service.models.tuning import Tuning
from service.models.version import Servable
from service.runtimes.base import Runtime
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    """Proved and ranked runtimes, all of one plan."""

    runtimes: Sequence[Runtime]
    choice: Choice

    @property
    def runs_on(self) -> str:
        count = f"{len(self.runtimes)} x " if len(self.runtimes) > 1 else ""
        return f"{count}{self.runtimes[0].info}"


class Loader:
    """Loads versions the way the settings say."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._device = Device.parse(settings.device)
        self._planner = Planner(settings)
        self._threads = Threads(settings.load_timeout)
        self._serving = False
        self._tuning = Tuning(self._measured, self._go_over)

    def started(self) -> None:
        """The server has looked at its repository once: what comes now replaces what serves, and may take its time."""
        self._serving = True

    async def scan(self) -> list[PublishedModel]:
        """What the repository holds now. Raises BundleNotFound, OSError, or SettingsError where it hangs."""
        folder = self._settings.repository
        try:
            return await self._threads.run("reading it", partial(repository.scan, folder))
        except ModelUnusable as error:
            raise SettingsError(f"--repository {folder} can't be read: {error}") from error

    async def stamp(self, version: Path) -> Stamp:
        """What changes with any file of a version. Raises ModelUnusable where the files hang."""
        return await self._threads.run("looking at its files", partial(repository.stamp, version))

    async def load(self, path: Path, pinned: Mapping[str, object], *, replaces: bool) -> Servable:
        """Loads the version in the folder; `replaces` says that another one of its model serves meanwhile.

        `pinned` is the [plan] of its model's file. Raises ModelUnusable with the reason.
        """
        task, labels = await self._task(path, pinned)
        bundle, choice, measurable = task.bundle, task.first, task.measurable
        if measurable and self._serving and replaces:
            choice, measurable = await self._measured(task), False
        opened = await self._open(task, choice)
        servable = self._servable(bundle, labels, opened)
        self._tell(servable, opened)
        if measurable:
            self._tuning.begin(servable, task)
        else:
            self._tuning.settle(servable, task)
        return servable

    async def replan(self, servable: Servable, pinned: Mapping[str, object]) -> None:
        """Has a version that serves go over to what its model's file says now, in the background.

        Raises ModelUnusable where nothing of the version fits that; then it goes on as it is.
        """
        work = partial(self._planner.task, servable.bundle, pinned)
        self._tuning.begin(servable, await self._threads.run("reading its kept plan", work, quietly=True))

    def _servable(self, bundle: Bundle, labels: Mapping[str, tuple[str, ...]], opened: _Opened) -> Servable:
        settings, metrics = self._settings, self._metrics.version(bundle.name, bundle.version)
        batcher = Batcher(
            opened.runtimes,
            bundle.manifest.signature,
            max_batch_size=opened.choice.plan.max_batch_size,
            metrics=metrics,
            timeout=settings.batch_timeout,
            renewal=self._renewal(bundle, opened.choice.plan),
        )
        servable = Servable(bundle, labels, batcher, metrics, runs_on=opened.runs_on, max_pending=settings.max_pending)
        alive = weakref.ref(servable)  # the metrics must not keep an unloaded version
        metrics.pending.set_function(lambda: there.pending if (there := alive()) else 0)
        return servable

    async def plan(self, path: Path) -> Choice:
        """Measures a version anew, proves the choice, keeps it, and closes what it opened.

        Raises ModelUnusable, or SettingsError for its model's file.
        """
        task, _ = await self._task(path, modelfile.read(path.parent).plan)
        _close(await self._open(task, Choice(task.usual, task.first.why)))  # tells the device too
        if not task.key:
            return task.first
        opened = await self._open(task, await self._planner.measure(task))
        _close(opened)
        return opened.choice

    async def close(self) -> None:
        """Gives up what is still being measured or loaded."""
        await self._tuning.end()
        await self._threads.end()

    async def _task(self, path: Path, pinned: Mapping[str, object]) -> tuple[Task, dict[str, tuple[str, ...]]]:
        return await self._threads.run("verifying its files", partial(self._read, path, pinned), quietly=True)

    def _read(self, path: Path, pinned: Mapping[str, object]) -> tuple[Task, dict[str, tuple[str, ...]]]:
        """What is known of the version, and its labels by head; every byte of it is verified."""
        try:
            bundle = store.open_bundle(path)
            store.verify_files(bundle)
            labels = {head.name: bundle.labels(head.name) for head in bundle.manifest.heads}
        except BundleInvalid as error:
            raise FilesIncomplete(error.problem) from error  # callers are told, and the server's paths are not theirs
        except BundleError as error:
            raise FilesIncomplete(str(error)) from error
        return self._planner.task(bundle, pinned), labels

    async def _measured(self, task: Task) -> Choice:
        """The measured choice, or the first plan and why it stays where measuring failed."""
        try:
            return await self._planner.measure(task)
        except Exception as error:
            log.warning("no plan could be measured", extra={**_names(task.bundle), "problem": str(error)})
            return Choice(task.first.plan, f"no plan could be measured: {error}")

    async def _go_over(self, servable: Servable, task: Task, choice: Choice) -> None:
        """Has a version that serves go over to the choice once it is proved."""
        if servable.batcher.stopped:
            return
        if servable.choice is not None and choice.plan == servable.choice.plan:
            servable.choice = choice
            await asyncio.to_thread(self._planner.keep, task, choice)
            self._log(servable)
            return
        opened = await self._open(task, choice)
        plan = opened.choice.plan
        await servable.batcher.swap(opened.runtimes, plan.max_batch_size, self._renewal(task.bundle, plan))
        if not servable.batcher.stopped:
            self._tell(servable, opened)
        await asyncio.to_thread(memory.give_back)

    def _tell(self, servable: Servable, opened: _Opened) -> None:
        """Shows the plan in force: in the API, the metric and the log."""
        servable.runs_on, servable.choice = opened.runs_on, opened.choice
        self._metrics.plan(servable.bundle.name, servable.bundle.version, opened.choice.plan)
        self._log(servable)

    @staticmethod
    def _log(servable: Servable) -> None:
        choice = servable.choice
        if choice is not None:
            log.info("plan", extra={**_names(servable.bundle), "plan": str(choice.plan), "why": choice.why})

    async def _open(self, task: Task, choice: Choice) -> _Opened:
        """Opens and proves the plan, or the next best one that can be, and remembers what was measured and held."""
        wanted = choice
        while True:
            try:
                opened = _Opened(await self._runtimes(task.bundle, choice.plan), choice)
            except ServiceError as error:
                if choice.plan == task.usual:
                    raise
                log.warning("plan refused", extra={**_names(task.bundle), "plan": str(choice.plan), "why": str(error)})
                choice = self._planner.without(task, choice, str(error))
                continue
            self._planner.opened(choice.plan.engine, opened.runtimes[0].info.device)
            with ExitStack() as unfinished:
                unfinished.callback(_close, opened)
                if choice is wanted and choice is not task.first:
                    await asyncio.to_thread(self._planner.keep, task, choice)
                unfinished.pop_all()
            return opened

    async def _runtimes(self, bundle: Bundle, plan: Plan) -> list[Runtime]:
        """Opens as usual, since the runtime's own threads inherit the priority, and proves quietly.

        OpenVINO starts its threads with the first run, so it is proved as usual too.
        """
        with ExitStack() as opened:
            runtimes = []
            for _ in range(plan.instances):
                work = partial(self._runtime, bundle, plan)
                runtime = await self._threads.run(f"opening it with {plan.engine}", work, drop=_shut)
                runtimes.append(runtime)
                opened.callback(runtime.close)
                prove = partial(_prove, bundle, plan, runtime)
                await self._threads.run("reproducing its golden samples", prove, quietly=plan.engine != "openvino")
            opened.pop_all()
            return runtimes

    def _runtime(self, bundle: Bundle, plan: Plan) -> Runtime:
        """One runtime of the plan, which ranks. Raises ModelUnusable or SettingsError."""
        runtime = open_runtime(
            bundle,
            engine=plan.engine,
            device=self._device,
            threads=plan.threads,
            variant=plan.variant,
            computed=plan.computed,
            explain=True,
        )
        return RankedRuntime(runtime, bundle.manifest.heads)

    def _renewal(self, bundle: Bundle, plan: Plan) -> Renewal:
        """How a lost runtime of this plan comes to be again."""
        return Renewal(open=partial(self._renewed, bundle, plan), prove=partial(_prove, bundle, plan))

    async def _renewed(self, bundle: Bundle, plan: Plan) -> Runtime:
        """A runtime in the place of a lost one, opened and proved like the first, each step within its time."""
        [runtime] = await self._runtimes(bundle, replace(plan, instances=1))
        return runtime


def _prove(bundle: Bundle, plan: Plan, runtime: Runtime) -> None:
    """Asks the runtime itself: what ranks its answers keeps few of the maps."""
    if isinstance(runtime, RankedRuntime):
        runtime = runtime.unranked
    golden.prove(runtime, bundle, plan.max_batch_size, reduced=plan.computed != "exact", explain=True)


def _shut(runtime: Runtime) -> None:
    runtime.close()


def _close(opened: _Opened) -> None:
    for runtime in opened.runtimes:
        runtime.close()


def _names(bundle: Bundle) -> dict[str, object]:
    return {"model": bundle.name, "version": bundle.version}


def limits(settings: Settings) -> Limits:
    """What a picture may be, as the settings say."""
    return Limits(
        max_bytes=settings.max_image_mb * MEBIBYTE,
        max_pixels=settings.max_image_pixels,
        max_side=settings.max_image_side,
    )
