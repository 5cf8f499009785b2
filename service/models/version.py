"""One version of one model: its state, why it is in it, and the leases that keep it alive.

LOADING -> READY -> UNLOADING -> gone, or LOADING -> UNAVAILABLE with a reason. Only a READY version is leased; an
UNLOADING one is torn down when its last lease ends, so no accepted call loses its model. Belongs to the event loop.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from bundle.store import Bundle
from service.batching.batcher import Batcher
from service.errors import QueueFull
from service.telemetry.metrics import VersionMetrics


class State(StrEnum):
    """The states that clients, the log and the metrics show."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """Which version a caller wants: a number, a label, or (neither) the highest READY one."""

    name: str
    version: int | None = None
    label: str | None = None


class Servable:
    """What a READY version answers with. `labels` by head; `runs_on` tells the runtimes in words."""

    def __init__(
        self,
        bundle: Bundle,
        labels: Mapping[str, tuple[str, ...]],
        batcher: Batcher,
        metrics: VersionMetrics,
        *,
        runs_on: str,
        max_pending: int,
    ) -> None:
        self.bundle = bundle
        self.labels = labels
        self.batcher = batcher
        self.metrics = metrics
        self.runs_on = runs_on
        self._pending = 0
        self._max_pending = max_pending

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Holds a place for every picture of a call until it is answered. Raises QueueFull when there is no room."""
        if self._pending + count > self._max_pending:
            raise QueueFull(self.bundle.name, self._pending, count, self._max_pending)
        self._pending += count
        self.metrics.pending.set(self._pending)
        try:
            yield
        finally:
            self._pending -= count
            self.metrics.pending.set(self._pending)


class ModelVersion:
    """A version that the server knows about; `servable` is there while READY or UNLOADING."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.state = State.LOADING
        self.reason = ""
        self.servable: Servable | None = None
        self._leases = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextmanager
    def lease(self) -> Iterator[Servable]:
        """Keeps the version alive while a call uses it. Only for READY versions."""
        assert self.servable is not None  # noqa: S101 - READY versions have one
        self._leases += 1
        self._unused.clear()
        try:
            yield self.servable
        finally:
            self._leases -= 1
            if not self._leases:
                self._unused.set()

    async def unused(self) -> None:
        """Waits until no call uses the version."""
        await self._unused.wait()
