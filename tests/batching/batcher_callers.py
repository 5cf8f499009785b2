"""A batcher on fake runtimes, and callers who bring it numbered rows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fake_runtime import SIGNATURE, FakeRuntime
from servers import until

from bundle.manifest import Signature
from service.batching.batcher import Batcher
from service.batching.entries import Priority
from service.telemetry.metrics import Metrics


@asynccontextmanager
async def batching(
    *runtimes: FakeRuntime,
    max_batch_size: int = 4,
    signature: Signature = SIGNATURE,
    metrics: Metrics | None = None,
    **others: Any,
) -> AsyncIterator[Batcher]:
    version = (metrics or Metrics()).version("fake", 1)
    batcher = Batcher(runtimes, signature, max_batch_size=max_batch_size, metrics=version, **others)
    try:
        yield batcher
    finally:
        for runtime in runtimes:
            runtime.let_go()
        await batcher.stop()


def rows(*numbers: int) -> dict[str, np.ndarray]:
    return {"x": np.array(numbers, np.int64).reshape(-1, 1)}


async def begun(runtime: FakeRuntime) -> None:
    """Returns when the runtime has begun its next batch."""
    await until(lambda: runtime.begun.acquire(blocking=False))


async def queued(
    batcher: Batcher,
    *entries: dict[str, np.ndarray],
    deadline: float = np.inf,
    priority: Priority = Priority.INTERACTIVE,
) -> list[asyncio.Task]:
    """Callers, each as far as it gets without the runtime."""
    tasks = [asyncio.ensure_future(batcher.run(entry, deadline, priority)) for entry in entries]
    await asyncio.sleep(0)
    return tasks


def answers(ran: object) -> list[int]:
    return ran.outputs["y"].ravel().tolist()
