"""One version of one model: its state, why it is in it, and the leases that keep it alive.

LOADING -> READY -> UNLOADING -> gone, or LOADING -> UNAVAILABLE with a reason; while its files are being copied it is
LOADING. A READY version that loses its last runtime is LOADING, or UNAVAILABLE, until a new one works. Only a READY
version is leased; an UNLOADING one is torn down when its last lease ends, so no accepted call loses its model. Belongs
to the event loop.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bundle.store import Bundle
from service.batching.batcher import Batcher
from service.batching.entries import Priority
from service.errors import QueueFull, RequestInvalid
from service.models.planning.plan import Choice
from service.telemetry.metrics import VersionMetrics

DEFAULT_TOP_K = 5


class State(StrEnum):
    """The states that clients, the log and the metrics show."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(slots=True)
class ModelQuery:
    """Which version a caller wants: a number, a label, or (neither) the highest READY one."""

    name: str
    version: int | None = None
    label: str | None = None


class Servable:
    """What a READY version answers with.

    `labels` by head; `runs_on` tells the runtimes in words and `choice` the plan they follow; both change when the
    runtimes do. `explains` says whether it has activation maps for those who ask.
    """

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
        self.choice: Choice | None = None
        self.tuning = asyncio.Lock()
        """Held by whoever changes the runtimes."""
        self.input_names = [spec.name for spec in bundle.manifest.signature.inputs]
        self.explains = any(head.activation_map for head in bundle.manifest.heads)
        self.most_classes = max(map(len, labels.values()), default=0)
        self.pending = 0
        self._max_pending = max_pending

    def admit(self, count: int, priority: Priority = Priority.INTERACTIVE) -> None:
        """Takes a place for every picture of a call, until `release`.

        Class batch gets places only while half are free after that: jobs must not shut people out. Raises QueueFull
        when there is no room, and RequestInvalid for what there never will be room for.
        """
        most = self._max_pending if priority is Priority.INTERACTIVE else max(1, self._max_pending // 2)
        if count > most:
            share = "" if priority is Priority.INTERACTIVE else ", half of it for priority batch"
            raise RequestInvalid(
                f"the call brings {count} pictures, model {self.bundle.name!r} never has more than {most} pending "
                f"(--max-pending{share}); split it into several calls"
            )
        if self.pending + count > most:
            raise QueueFull(self.bundle.name, self.pending, count, most, self.batcher.retry_after())
        self.pending += count

    def release(self, count: int) -> None:
        """Gives the places of an answered call back."""
        self.pending -= count


class ModelVersion:
    """A version that the server knows about; `servable` is there from the first READY to the end of UNLOADING."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.state = State.LOADING
        self.reason = ""
        self.servable: Servable | None = None
        self.arriving = False
        """Whether it waits for its files, which may still be being copied, until they are whole or stand still."""
        self._leases = 0
        self._unused = asyncio.Event()

    @property
    def serves(self) -> bool:
        """Whether it answers, or will as soon as it has a runtime again."""
        return self.servable is not None and self.state is not State.UNLOADING

    @property
    def hopeless(self) -> bool:
        """Whether nothing is being done to make it READY: with a servable, a new runtime is on its way."""
        return self.state is State.UNAVAILABLE and self.servable is None

    @property
    def lost(self) -> bool:
        """Whether it is neither loaded nor being loaded, so that another one should stand in for it."""
        return self.hopeless or self.arriving

    def acquire(self) -> Servable:
        """Keeps the version alive for a call, until `release`. Only for READY versions."""
        assert self.servable is not None  # noqa: S101 - READY versions have one
        self._leases += 1
        return self.servable

    def release(self) -> None:
        """Ends a call's use of the version."""
        self._leases -= 1
        if not self._leases:
            self._unused.set()

    async def unused(self) -> None:
        """Waits until no call uses the version; to be asked once no new call can get it."""
        if self._leases:
            self._unused.clear()
            await self._unused.wait()
