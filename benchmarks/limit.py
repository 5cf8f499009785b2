"""The raw limits: what ONNX Runtime and Pillow do with the same bundle in this process, with no server around them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from bundle.preprocessing import decode
from bundle.store import Bundle
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PIPELINE_BATCHES = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Limit:
    """Images/s and CPU microseconds an image at one batch size."""

    batch: int
    images_per_second: float
    cpu_us: float


def runtime_limits(bundle: Bundle, threads: int, seconds: float) -> list[Limit]:
    """ONNX Runtime alone, by batch size."""
    runtime = open_runtime(bundle, engine="onnx", device=Device("cpu"), threads=threads)
    (spec,) = bundle.manifest.signature.inputs
    sizes = [size or 1 for size in spec.shape[1:]]
    random = np.random.default_rng(0)
    limits = []
    for batch in BATCHES:
        rows = {spec.name: random.integers(0, 255, (batch, *sizes)).astype(spec.dtype)}
        limits.append(_measure(partial(runtime.run, rows), batch, seconds))
    runtime.close()
    return limits


def decode_limit(bundle: Bundle, picture: bytes, seconds: float) -> Limit:
    """Pillow alone: decode and resize of one picture."""
    (spec,) = bundle.manifest.preprocessing
    return _measure(lambda: decode(picture, spec), 1, seconds)


def pipeline_limit(bundle: Bundle, picture: bytes, cores: int, seconds: float) -> Limit:
    """Decode and run on all cores: in each core's thread one after the other, at the best small batch size."""
    return max(
        (_pipeline(bundle, picture, cores, batch, seconds) for batch in PIPELINE_BATCHES),
        key=lambda limit: limit.images_per_second,
    )


def _pipeline(bundle: Bundle, picture: bytes, cores: int, batch: int, seconds: float) -> Limit:
    runtimes = [open_runtime(bundle, engine="onnx", device=Device("cpu"), threads=1) for _ in range(cores)]
    (spec,) = bundle.manifest.preprocessing
    runs = [0] * cores
    end = 0.0

    def work(core: int) -> None:
        while time.perf_counter() < end:
            runtimes[core].run({spec.input: np.stack([decode(picture, spec) for _ in range(batch)])})
            runs[core] += 1

    for runtime in runtimes:
        runtime.run({spec.input: np.stack([decode(picture, spec)] * batch)})
    threads = [threading.Thread(target=work, args=(core,)) for core in range(cores)]
    cpu, began = time.process_time(), time.perf_counter()
    end = began + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, images = time.perf_counter() - began, sum(runs) * batch
    for runtime in runtimes:
        runtime.close()
    return Limit(batch, images / elapsed, (time.process_time() - cpu) / images * 1e6)


def _measure(run: Callable[[], object], batch: int, seconds: float) -> Limit:
    for _ in range(10):
        run()
    runs, cpu, began = 0, time.process_time(), time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        run()
        runs += 1
    images = runs * batch
    return Limit(batch, images / elapsed, (time.process_time() - cpu) / images * 1e6)
