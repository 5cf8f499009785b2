"""What a plan is, what was measured of it, and the choice between plans: values and pure functions.

The invariant: the choice follows the measured table and nothing else, and can be told in one sentence. Made by
`profiling` from measurements or by `planner` from pins and defaults; shown by `GetModel`, `convoy plan` and the metric.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.runtimes.opening import Computed, Engine

# What one tensor request costs beside the model, measured at 32 in flight: all threads together, and of that the event
# loop, which is one thread whatever the machine has.
SERVER_SECONDS_PER_IMAGE: Final = 40e-6
LOOP_SECONDS_PER_IMAGE: Final = 20e-6
# What a batch costs beside its pictures, measured: threads that wake each other.
SERVER_SECONDS_PER_BATCH: Final = 300e-6
# Why a plan has no figures where the time ran out.
NO_TIME: Final = "there was no time left to measure it"
# How the reason begins where the profiler ended before it came to a plan: it may have been killed for want of memory.
BROKE: Final = "the profiler broke"
# Two plans nearer than this are equal: the same plan measured twice differs as much.
_NEAR: Final = 0.03
# An engine beside the usual one must give a tenth more: for a tiny model OpenVINO took some 70 MiB more, and the start
# longer.
_OTHER_ENGINE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Plan:
    """How a version is run. `computed` is the arithmetic: "exact" as the variant has it, or "bf16"."""

    engine: Engine
    variant: str
    computed: Computed
    threads: int
    instances: int
    max_batch_size: int

    @property
    def cores(self) -> int:
        """How many cores it keeps busy at most."""
        return self.threads * self.instances

    def __str__(self) -> str:
        arithmetic = "" if self.computed == "exact" else f" computed in {self.computed}"
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return (
            f"{self.engine} {self.variant}{arithmetic}, {self.instances} x {threads}, batches to {self.max_batch_size}"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of the table. `seconds` is the median run of a full batch while all instances run.

    `refused` says why a plan was not measured or may not be used; the two figures are then 0. `cut` says that the time
    ended before larger batches of the same setup were measured.
    """

    plan: Plan
    seconds: float = 0.0
    images_per_second: float = 0.0
    refused: str = ""
    cut: bool = False

    @property
    def p99(self) -> float:
        """The seconds that a picture must reckon with: it waits for the batch before it, then runs in its own."""
        return 2 * self.seconds

    @property
    def cost(self) -> float:
        """The core seconds of one picture in a full batch, with what the server does for it and for the batch."""
        return self.plan.cores / self.images_per_second + self._beside

    @property
    def _beside(self) -> float:
        """The core seconds that the server takes beside the run, for a picture and for its part of the batch."""
        return SERVER_SECONDS_PER_IMAGE + SERVER_SECONDS_PER_BATCH / self.plan.max_batch_size

    def served(self, cores: float) -> float:
        """Pictures a second that a server on so many cores can give by it: it was measured without one.

        The event loop hands over so many at most, and what the server does for a picture and a batch takes its share of
        the cores that run the model.
        """
        model = min(self.plan.cores, cores) / self.images_per_second
        return min(self.images_per_second, 1 / LOOP_SECONDS_PER_IMAGE, cores / (self._beside + model))


@dataclass(frozen=True, slots=True)
class Fit:
    """latency(batch) = start + each * batch, in seconds."""

    start: float
    each: float

    def seconds(self, rows: int) -> float:
        """What a batch of so many rows takes."""
        return self.start + self.each * rows


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan, why it is the one, the table it was chosen from, and its latency by batch size where it was measured.

    `busy` is the share of the cores that others, this server's own calls among them, had while it was measured.
    """

    plan: Plan
    why: str
    table: tuple[Measured, ...] = ()
    fit: Fit | None = None
    busy: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether there was something to measure and all of it had its turn."""
        return bool(self.table) and not any(row.refused.startswith((NO_TIME, BROKE)) for row in self.table)


def choose(
    table: Sequence[Measured], target: float, cores: float, *, usual: Engine = "onnx", disturbed: bool = False
) -> Choice | None:
    """The plan by which a server on `cores` gives the most, with its p99 within `target` seconds.

    `cores` is infinite where the model does not run on them; an engine beside the `usual` one must be worth it. None
    where nothing was measured; where the measurement was `disturbed`, what was cut counts as not measured: others had
    the time in which its better batches would have been.
    Of nearly equal ones that with the fewest cores, then the fewest threads a run, then the least cost: plans are
    measured with nothing beside them, and a run of several threads waits for that one of them whose core decodes a
    picture. Where none is within the target it is the one with the lowest p99.
    """
    usable = [row for row in table if not (row.refused or (disturbed and row.cut))]
    if not usable:
        return None
    within = [row for row in usable if row.p99 <= target]
    if within:
        worth = [row.served(cores) * (1 if row.plan.engine == usual else _OTHER_ENGINE) for row in within]
        near = [row for row, worth_of in zip(within, worth, strict=True) if worth_of >= max(worth) * (1 - _NEAR)]
        best = min(near, key=lambda row: (row.plan.cores, row.plan.threads, row.cost))
        relation = f"what a server gives most by, of {len(within)} plans within"
    else:
        best = min(usable, key=lambda row: row.p99)
        relation = f"the lowest latency; none of {len(usable)} plans is within"
    why = (
        f"measured {best.images_per_second:.0f} images/s at a p99 of about {best.p99 * 1e3:.3g} ms: "
        f"{relation} {target * 1e3:g} ms"
    )
    return Choice(best.plan, why, tuple(table), fit(usable, best.plan))


def fit(table: Iterable[Measured], plan: Plan) -> Fit | None:
    """Least squares over the batch sizes at which the plan was measured; None where there is only one."""
    sized = [(row.plan.max_batch_size, row.seconds) for row in table if _same_but_size(row.plan, plan)]
    if len({size for size, _ in sized}) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    sizes, seconds = np.array(sized).T
    each, start = np.polyfit(sizes, seconds, 1)
    return Fit(max(0.0, float(start)), max(0.0, float(each)))


def _same_but_size(one: Plan, other: Plan) -> bool:
    return (one.engine, one.variant, one.computed, one.threads, one.instances) == (
        other.engine,
        other.variant,
        other.computed,
        other.threads,
        other.instances,
    )
