"""How fast each exported variant is on this machine, without a server around it.

The figures belong to the machine that measured them and say so. They compare variants with each other; what a server
does with several callers is the benchmarks' business. Called by `training.report.collect`.
"""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Variant
from training.replay import OPENERS, Run

BATCH_SIZES = (1, 16)
_SECONDS = 0.4  # of runs for each figure, after the first runs
_LEAST_RUNS = 5
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Speed:
    """Examples a second of one variant at one batch size, from the median time of its runs."""

    variant: str
    batch_size: int
    images_per_second: float


def measure(
    folder: Path,
    variants: Sequence[Variant],
    inputs: Mapping[str, NDArray[np.uint8]],
    seconds: float = _SECONDS,
) -> tuple[Speed, ...]:
    """Runs every variant in `folder` on rows of `inputs`, uint8 [n, ...] by name, repeated where they are too few."""
    speeds = []
    for variant in variants:
        run = OPENERS[variant.format](folder / variant.path)
        for size in BATCH_SIZES:
            batch = {name: np.resize(array, (size, *array.shape[1:])) for name, array in inputs.items()}
            speeds.append(Speed(variant.name, size, size / _median_seconds(run, batch, seconds)))
    return tuple(speeds)


def machine() -> str:
    """The processor's name and how many cores this process may use."""
    return f"{_processor()}, {_cores()} cores"


def _median_seconds(run: Run, batch: dict[str, Any], seconds: float) -> float:
    for _ in range(2):  # the first runs allocate and compile
        run(batch)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_RUNS or time.perf_counter() < end:
        began = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """Linux keeps the name in a file; elsewhere Python knows it."""
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor()])[0] or platform.machine()
