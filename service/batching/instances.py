"""The instances of one model version: which are idle, busy or being proved, and how one that is lost is replaced.

A watchdog gives up an instance whose batch is not back within `timeout` seconds; its thread can't be killed, so it is
left behind, and closes its runtime if it ever returns. Lost as well is a runtime that threw batch after batch and then
failed its proof, which has a longer time of its own. In its place a new runtime is opened and proved, at ever longer
intervals where that fails; the other instances go on. Belongs to the event loop; owned by the batcher.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from bundle.manifest import Signature
from service.batching.entries import Slice
from service.batching.estimate import Estimate
from service.batching.instance import Instance, Piece, Prove
from service.errors import RuntimeFailed, ServiceError
from service.runtimes.base import Runtime
from service.telemetry.metrics import VersionMetrics

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 60.0
# A proof is many runs, the longest of them a full batch; one that takes so many times a batch's time hangs.
PROOF_TIMEOUTS: Final = 10
# Openings in a row that failed, after which another one is not what helps.
LOST_AFTER: Final = 3

Finished = Callable[[float, Sequence[Piece]], None]


@dataclass(frozen=True, slots=True)
class Renewal:
    """How a lost instance's runtime comes to be again: `open` opens and proves one; `prove` raises where it is bad.

    `open` gives up by itself what hangs, and closes what comes after that or after it was cancelled.
    """

    open: Callable[[], Awaitable[Runtime]]
    prove: Prove


class Instances:
    """Runs batches on whichever instance is idle. `problem` says why none works, in words; empty while one does.

    `finished` is called after each batch, with when it began and its pieces; `freed` when one has passed its proof and
    is idle again; `changed` when `problem` did.
    """

    def __init__(
        self,
        runtimes: Sequence[Runtime],
        signature: Signature,
        max_batch_size: int,
        *,
        timeout: float,
        renewal: Renewal | None,
        metrics: VersionMetrics,
        finished: Finished,
        freed: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._timeout = timeout
        self._renewal = renewal
        self._metrics = metrics
        self._finished = finished
        self._freed = freed
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._new = partial(
            Instance,
            signature=signature,
            max_batch_size=max_batch_size,
            report=self._report,
            proved=self._proved,
            prove=renewal.prove if renewal else None,
        )
        self.idle = [self._new(runtime) for runtime in runtimes]
        self.problem = ""
        self.renewing = False
        """Whether the first new runtime after a loss is on its way; where it could not be opened, this is False."""
        self.device = runtimes[0].info.device
        self._wanted = len(runtimes)
        self._busy: dict[Instance, tuple[float, Sequence[Slice]]] = {}
        self._proving: dict[Instance, asyncio.TimerHandle] = {}
        self._watchdog: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None
        self._failed_openings = 0
        self._retry: asyncio.TimerHandle | None = None
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._stopped = False

    def __iter__(self) -> Iterator[Instance]:
        """Those that work, or may: they are being proved."""
        return iter([*self.idle, *self._busy, *self._proving])

    def __len__(self) -> int:
        return len(self.idle) + len(self._busy) + len(self._proving)

    @property
    def all_busy(self) -> bool:
        """Whether there are any, and each runs a batch."""
        return 0 < len(self._busy) == len(self)

    @property
    def lost(self) -> bool:
        """Whether none works, and new runtimes could not be opened so often that only a new process may help."""
        return bool(self.problem) and not self.renewing and self._failed_openings >= LOST_AFTER

    def start(self, batch: Sequence[Slice]) -> None:
        """Runs the batch on an idle instance."""
        instance = self.idle.pop()
        self._busy[instance] = (time.monotonic(), batch)
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._timeout, self._watch)
        instance.start(batch)

    def prove_idle(self) -> None:
        """Has the idle ones prove themselves, since what broke others may have broken them; no batch comes before."""
        while self.idle and self._renewal is not None:
            instance = self.idle.pop()
            self._await_proof(instance)
            instance.prove()

    def seconds_busy(self, estimate: Estimate, now: float) -> float:
        """In how many seconds, at the estimate, one will be idle; 0 where one is."""
        if self.idle or not self._busy:
            return 0.0
        free = min(began + estimate.seconds(sum(part.count for part in batch)) for began, batch in self._busy.values())
        return max(0.0, free - now)

    async def stop(self) -> None:
        """Waits for the batches in hand, as long as the watchdog allows, and ends the threads."""
        self._stopped = True
        self._cancel_retry()
        opening = self._opening
        if opening is not None:
            opening.cancel()
        instances = list(self)
        for instance in instances:
            instance.end()
        await asyncio.to_thread(self._join, instances)
        for instance in [*self._busy, *self._proving]:
            what = "proof" if instance in self._proving else "batch"
            self._lose(instance, f"{instance.runtime.info} did not finish its {what} before the model was unloaded")
        if self._watchdog is not None:
            self._watchdog.cancel()
        if opening is not None:
            await asyncio.wait([opening])
        self.idle.clear()
        # Without the circle between them the batcher goes with its last user, and the instances with it.
        self._finished = self._freed = self._changed = _nothing

    def _join(self, instances: Sequence[Instance]) -> None:
        latest = time.monotonic() + self._timeout
        for instance in instances:
            instance.join(max(0.0, latest - time.monotonic()))

    def _report(self, instance: Instance, pieces: Sequence[Piece], proving: bool) -> None:
        running = self._busy.pop(instance, None)
        if running is None:  # it was given up, and its callers have been answered
            return
        if proving:  # as long as it may be broken nothing more is to be given to it
            self._await_proof(instance)
        else:
            self.idle.append(instance)
        if any(piece.again or piece.error is not None for piece in pieces):
            self._metrics.batches_failed.inc()
        self._finished(running[0], pieces)

    def _await_proof(self, instance: Instance) -> None:
        seconds = PROOF_TIMEOUTS * self._timeout
        reason = f"{instance.runtime.info} did not finish its proof in {seconds:g} s"
        self._proving[instance] = self._loop.call_later(seconds, self._lose, instance, reason)

    def _proved(self, instance: Instance, problem: str) -> None:
        if problem:
            self._lose(instance, problem)
        elif timer := self._proving.pop(instance, None):
            timer.cancel()
            self.idle.append(instance)
            self._freed()

    def _watch(self) -> None:
        """Gives up what is over its time, and looks again when the next one would be: one timer, not one a batch."""
        self._watchdog = None
        now, next_look = time.monotonic(), math.inf
        for instance, (began, _) in list(self._busy.items()):
            if began + self._timeout <= now:
                self._lose(
                    instance, f"{instance.runtime.info} did not finish a batch in {self._timeout:g} s (--batch-timeout)"
                )
            else:
                next_look = min(next_look, began + self._timeout)
        if self._busy and self._watchdog is None:
            self._watchdog = self._loop.call_later(max(0.0, next_look - now), self._watch)

    def _lose(self, instance: Instance, reason: str) -> None:
        if instance not in self._busy and instance not in self._proving:  # it was given up before
            return
        _, batch = self._busy.pop(instance, (0.0, ()))
        if timer := self._proving.pop(instance, None):
            timer.cancel()
        instance.abandon()
        self._metrics.instances_lost.inc()
        log.error("instance lost", extra={"reason": reason, "left": len(self)})
        if batch:
            self._metrics.batches_failed.inc()
        if not len(self):
            self._cancel_retry()
            self.problem = f"{reason}; a new one is being opened" if self._renewal else reason
            self.renewing = self._renewal is not None
            self._changed()
        for part in batch:
            part.entry.fail(RuntimeFailed(reason))
        if self._retry is None:
            self._renew()

    def _cancel_retry(self) -> None:
        """While others go on a retry has time; where none is left it is not waited for."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _renew(self) -> None:
        """Opens what is missing, one at a time."""
        self._retry = None
        if self._renewal is not None and len(self) < self._wanted and not (self._stopped or self._opening):
            self._opening = self._loop.create_task(self._open(self._renewal))

    async def _open(self, renewal: Renewal) -> None:
        try:
            runtime = await renewal.open()
        except Exception as error:
            self._opening = None
            self._not_renewed(str(error) if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}")
        else:
            self._opening = None
            self._renewed(runtime)

    def _renewed(self, runtime: Runtime) -> None:
        log.info("instance replaced", extra={"runtime": str(runtime.info)})
        self.idle.append(self._new(runtime))
        self._retry_seconds, self._failed_openings = FIRST_RETRY_SECONDS, 0
        self.problem, self.renewing = "", False
        self._changed()
        self._renew()

    def _not_renewed(self, reason: str) -> None:
        self._failed_openings += 1
        log.error("instance not replaced", extra={"reason": reason, "again_in": self._retry_seconds})
        self._retry = self._loop.call_later(self._retry_seconds, self._renew)
        self._retry_seconds = min(2 * self._retry_seconds, LAST_RETRY_SECONDS)
        if not len(self):
            self.problem, self.renewing = f"its runtime was lost and can't be opened again: {reason}", False
            self._changed()


def _nothing(*_: object) -> None:
    pass
