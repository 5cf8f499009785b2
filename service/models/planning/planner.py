"""Decides how a version is run: what is pinned, what is known from before, what is to be measured.

The invariant: a plan that was not measured here is either pinned or the usual one (one instance on all cores), and says
so. One profile runs at a time, so candidates of two models never slow each other; for the same reason one of several
workers measures nothing. Called by `service.models.loader` and by `convoy plan`.
"""

import asyncio
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bundle.store import Bundle
from service.config import Settings, state_folder
from service.models.planning import cache, machine
from service.models.planning.cache import Cache
from service.models.planning.candidates import Pins, Setup, candidates, default_plan
from service.models.planning.plan import Choice, Measured, Plan, choose
from service.models.planning.process import Question, ask
from service.runtimes.opening import Engine
from service.runtimes.usable import usable_cores

_MODULES: Final[dict[str, Engine]] = {"onnxruntime": "onnx", "openvino": "openvino", "tensorflow": "tensorflow"}
PROVISIONAL: Final = "not measured yet"
UNMEASURED: Final = "not measured: --profile-seconds is 0"
UNMEASURED_BY_WORKERS: Final = "not measured: a worker measures none, because its siblings would disturb it"
PINNED: Final = "pinned, nothing was left to measure"


@dataclass(frozen=True, slots=True)
class Task:
    """What is known about running one version before anything is measured.

    `first` can be opened at once. `measurable` says whether measuring may find a better one; `usual` always works where
    anything does. `key` is what a choice depends on, empty where nothing is kept.
    """

    bundle: Bundle
    pins: Pins
    usual: Plan
    first: Choice
    measurable: bool
    key: dict[str, str]


class Planner:
    """Plans versions the way the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cache = Cache(state_folder(settings))
        self._turn = asyncio.Lock()
        self._devices: dict[Engine, str] = {}  # of those that have opened a version

    def task(self, bundle: Bundle, pinned: Mapping[str, object]) -> Task:
        """What is known about a version, for which its model's file has `pinned` that. Reads files.

        Raises ModelUnusable where no variant fits.
        """
        pins = Pins.of(self._settings, pinned)
        usual = default_plan(bundle.manifest.variants, pins)
        if not self._settings.profile_seconds:
            return Task(bundle, pins, usual, Choice(usual, UNMEASURED), measurable=False, key={})
        setups = self.setups(bundle, pins)
        if len(setups) == len(setups[0].instances) == len(setups[0].batch_sizes) == 1:
            only = setups[0].plan(setups[0].instances[0], setups[0].batch_sizes[0])
            return Task(bundle, pins, only, Choice(only, PINNED), measurable=False, key={})
        key = cache.key(bundle, self._settings, pins)
        kept = self._cache.find(key)
        if kept is None and self._settings.workers > 1:
            return Task(bundle, pins, usual, Choice(usual, UNMEASURED_BY_WORKERS), measurable=False, key={})
        first = kept or Choice(usual, PROVISIONAL)
        again = kept is None or (kept.busy > machine.BUSY and self._settings.workers == 1)
        return Task(bundle, pins, usual, first, measurable=again, key=key)

    def opened(self, engine: Engine, device: str) -> None:
        """Told where an engine has opened a version: what "auto" means, each engine settles for itself, and once."""
        self._devices[engine] = device

    def device(self, engine: Engine) -> str:
        """Where the engine runs versions: "auto" until it has opened one, where that is what was asked for."""
        return self._devices.get(engine, self._settings.device)

    def on_cpu(self, engine: Engine) -> bool:
        """Whether the engine runs versions on the CPU, as far as is known."""
        return self.device(engine) in ("auto", "cpu")

    def setups(self, bundle: Bundle, pins: Pins) -> list[Setup]:
        """What is worth measuring. Raises ModelUnusable."""
        variants = bundle.manifest.variants
        return candidates(
            variants,
            pins,
            self._settings.precision,
            cores=usable_cores(),
            on_cpu=self.on_cpu(default_plan(variants, pins).engine),
            installed=installed(),
        )

    async def measure(self, task: Task) -> Choice:
        """Profiles in a process of its own, in turn. Raises ModelUnusable where nothing could be measured."""
        settings = self._settings
        question = Question(
            str(task.bundle.path),
            tuple(self.setups(task.bundle, task.pins)),
            self.device(task.usual.engine),
            _target(task),
            settings.profile_seconds,
        )
        async with self._turn:
            before = machine.now()
            table = await ask(question)
            busy = machine.taken_by_others(before, machine.now(), usable_cores())
        return self.choose(task, table, busy)

    def choose(self, task: Task, table: Sequence[Measured], busy: float) -> Choice:
        """The best plan of the table, measured while others had the share `busy` of the cores; or the usual plan."""
        cores = usable_cores() if self.on_cpu(task.usual.engine) else math.inf
        best = choose(table, _target(task), cores, usual=task.usual.engine, disturbed=busy > machine.BUSY)
        best = best or Choice(task.usual, "no plan could be measured in time", tuple(table))
        if busy <= machine.BUSY:
            return replace(best, busy=busy)
        others = f"others, served calls included, had {busy:.0%} of the cores, so it is provisional"
        return replace(best, busy=busy, why=f"{best.why}; {others}")

    def without(self, task: Task, choice: Choice, reason: str) -> Choice:
        """The next best choice, since this one's plan could not be opened or proved."""
        failed = choice.plan
        table = [
            replace(row, refused=row.refused or reason)
            if (row.plan.engine, row.plan.variant, row.plan.computed)
            == (failed.engine, failed.variant, failed.computed)
            else row
            for row in choice.table
        ]
        return self.choose(task, table, choice.busy)

    def keep(self, task: Task, choice: Choice) -> None:
        """Remembers a choice whose plan was opened and proved.

        One from half a table is made anew by the next start; one from a busy machine is served by until then, and does
        not replace one from a calmer moment.
        """
        if not task.key or not choice.complete:
            return
        kept = self._cache.find(task.key)
        if kept is None or choice.busy <= max(kept.busy, machine.BUSY):
            self._cache.keep(task.key, choice)


def _target(task: Task) -> float:
    """The p99 to keep to, in seconds."""
    return task.pins.latency_target / 1e3


def installed() -> list[Engine]:
    """The engines that can be imported; none of them is."""
    return [engine for module, engine in _MODULES.items() if importlib.util.find_spec(module) is not None]
