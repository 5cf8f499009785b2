"""The raw limits: what ONNX Runtime and Pillow do with the same bundle in this process, with no server around them."""

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


def _measure(run: Callable[[], object], batch: int, seconds: float) -> Limit:
    for _ in range(10):
        run()
    runs, cpu, began = 0, time.process_time(), time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        run()
        runs += 1
    images = runs * batch
    return Limit(batch, images / elapsed, (time.process_time() - cpu) / images * 1e6)
