"""Measures setups on the golden pictures, within a time that is kept.

The invariant: a setup whose engine does not reproduce the golden samples is refused with the reason, never timed; the
time that is left is shared by the setups that are left, so each has its turn. Runs in the profiler's own process
(`process`), for the server and for `convoy plan`.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import numpy as np

from bundle.preprocessing import Limits
from bundle.store import Bundle
from service.errors import ServiceError
from service.models import golden
from service.models.planning.candidates import Setup
from service.models.planning.plan import NO_TIME, Measured, Plan
from service.runtimes.base import Arrays, Runtime
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime

_LEAST_RUNS: Final = 2
_MOST_RUNS: Final = 200
# Two batch sizes in a row that are so much slower a picture than a smaller one are past the best: larger ones are not
# tried. One alone may be another process's doing.
_PAST_BEST: Final = 0.9
_IN_A_ROW: Final = 2
# Why larger batches of a setup were not tried.
CUT: Final = "its share of the time was over"
SLOW: Final = "the latency target was passed"
PAST: Final = "its best was passed"

Run = Callable[[Arrays], object]


def profile(
    bundle: Bundle, setups: Sequence[Setup], device: Device, *, target: float, seconds: float
) -> Iterator[Measured]:
    """One row for each plan that was measured, as it is measured, and for each plan and setup that was not, with why.

    `target` is the p99 in seconds beyond which larger batches are not tried. Takes `seconds`, and what one setup needs
    to open and to prove itself.
    """
    inputs, _ = golden.samples(bundle, Limits())
    until = time.monotonic() + seconds
    refused: dict[tuple[str, str, str], str] = {}
    for number, setup in enumerate(setups):
        kind = (setup.engine, setup.variant, setup.computed)
        now = time.monotonic()
        if kind in refused or now >= until:
            yield Measured(setup.plan(setup.instances[0], 0), refused=refused.get(kind, NO_TIME))
            continue
        share = (until - now) / (len(setups) - number)
        with ExitStack() as opened:
            try:
                runtimes = _open(bundle, setup, device, opened)
                yield from _measure(runtimes, setup, inputs, target, now + share)
            except ServiceError as error:
                refused[kind] = str(error)
                yield Measured(setup.plan(setup.instances[0], 0), refused=str(error))


def _open(bundle: Bundle, setup: Setup, device: Device, opened: ExitStack) -> list[Runtime]:
    """As many runtimes as the most instances; the first is proved for them all."""
    runtimes: list[Runtime] = []
    for _ in range(max(setup.instances)):
        runtime = open_runtime(
            bundle,
            engine=setup.engine,
            device=device,
            threads=setup.threads,
            variant=setup.variant,
            computed=setup.computed,
        )
        opened.callback(runtime.close)
        runtimes.append(runtime)
        if len(runtimes) == 1:
            golden.prove(runtime, bundle, min(setup.batch_sizes), reduced=setup.computed != "exact")
    return runtimes


def _measure(
    runtimes: Sequence[Runtime], setup: Setup, inputs: Arrays, target: float, until: float
) -> Iterator[Measured]:
    """Every number of instances once, then each again: as far apart as the setup's time allows.

    The batch sizes that were not tried are told too.
    """
    runs = {count: [runtime.run for runtime in runtimes[:count]] for count in setup.instances}
    seconds = max(0.0, until - time.monotonic()) / 2 / len(runs)
    rows, untried = {}, list[Measured]()
    for count in setup.instances:
        plans = [setup.plan(count, size) for size in setup.batch_sizes]
        rows[count] = _climb(plans, runs[count], inputs, target=target, seconds=seconds)
        untried += _untried(plans, rows[count], target)
    for number, count in enumerate(setup.instances):
        seconds = max(0.0, until - time.monotonic()) / (len(runs) - number)
        yield from _again(rows[count], runs[count], inputs, seconds)
    yield from untried  # after the others, as a setup of which anything was told counts as measured


def _climb(
    plans: Sequence[Plan], runs: Sequence[Run], inputs: Arrays, *, target: float, seconds: float
) -> list[Measured]:
    """Ever larger batches, until they are past the target or past their best."""
    rows: list[Measured] = []
    began, best, behind = time.monotonic(), 0.0, 0
    for plan in plans:
        row = Measured(plan, *timed(runs, _batch(inputs, plan.max_batch_size), seconds / len(plans)))
        rows.append(row)
        behind = behind + 1 if row.images_per_second < best * _PAST_BEST else 0
        if row.p99 > target or behind == _IN_A_ROW:
            break
        if time.monotonic() > began + 2 * seconds and plan is not plans[-1]:
            return [replace(each, cut=True) for each in rows]
        best = max(best, row.images_per_second)
    return rows


def _untried(plans: Sequence[Plan], rows: Sequence[Measured], target: float) -> Iterator[Measured]:
    """The plans that `_climb` did not come to, and why."""
    last = rows[-1]
    why = CUT if last.cut else SLOW if last.p99 > target else PAST
    for plan in plans[len(rows) :]:
        yield Measured(plan, refused=f"{why}, at batches of {last.plan.max_batch_size}")


def _again(rows: Sequence[Measured], runs: Sequence[Run], inputs: Arrays, seconds: float) -> Iterator[Measured]:
    """The better of two measurements of each: what another process did to one of them, it seldom does to both."""
    for row in reversed(rows):
        size = row.plan.max_batch_size
        second = Measured(row.plan, *timed(runs, _batch(inputs, size), seconds / len(rows)), cut=row.cut)
        yield max(row, second, key=lambda each: each.images_per_second)


def _batch(inputs: Arrays, size: int) -> Arrays:
    return {name: np.resize(values, (size, *values.shape[1:])) for name, values in inputs.items()}


def timed(runs: Sequence[Run], batch: Arrays, seconds: float) -> tuple[float, float]:
    """The median seconds of one run while all run side by side, each in its thread, and rows a second over all.

    Raises what a run raises. Every thread runs once before anything counts: buffers and kernels are made then.
    """
    size = len(next(iter(batch.values())))
    barrier = threading.Barrier(len(runs))
    took: list[list[float]] = [[] for _ in runs]
    failures: list[BaseException] = []

    def work(run: Run, mine: list[float]) -> None:
        try:
            run(batch)
            barrier.wait()
            until = time.monotonic() + seconds
            while len(mine) < _LEAST_RUNS or (time.monotonic() < until and len(mine) < _MOST_RUNS):
                began = time.monotonic()
                run(batch)
                mine.append(time.monotonic() - began)
        except threading.BrokenBarrierError:
            pass  # another thread failed, and tells why
        except Exception as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=each) for each in zip(runs, took, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    per_second = sum(size / statistics.median(mine) for mine in took)
    return statistics.median(one for mine in took for one in mine), per_second
