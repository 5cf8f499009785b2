"""The queue of one model version and the rule by which it becomes batches.

An idle instance takes what is there at once; while all are busy, rows accumulate. So a lone request never waits and
batches grow exactly as fast as the load does; there is no delay to tune. Entries whose caller left or whose deadline
passed are dropped while the batch forms and never executed. Every entry is answered, whatever a runtime returns. All
state belongs to the event loop. Called by `service.inference`, owned by `service.models`.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import cast

from bundle.manifest import Signature
from service.batching.entries import Entry, Ran, Slice, Waiter
from service.batching.instance import Instance, Outcome
from service.errors import DeadlinePassed, ModelNotReady, RuntimeFailed
from service.runtimes.base import Arrays, Runtime
from service.telemetry.metrics import VersionMetrics

_UNLOADED = "the model was unloaded before this call's turn; try again"


class Batcher:
    """Runs rows on the runtimes, in arrival order, in batches of up to `max_batch_size`."""

    def __init__(
        self, runtimes: Sequence[Runtime], signature: Signature, *, max_batch_size: int, metrics: VersionMetrics
    ) -> None:
        self.max_batch_size = max_batch_size
        self._metrics = metrics
        self._signature = signature
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Entry] = deque()
        self._started: dict[Instance, float] = {}
        self._instances = self._instances_of(runtimes)
        self._idle = list(self._instances)
        self._stopped = False
        self._mixed = any(None in spec.shape[1:] for spec in signature.inputs)

    async def run(self, rows: Arrays, deadline: float = math.inf) -> Ran:
        """Runs rows [n, ...] of every input and waits for their outputs.

        Raises DeadlinePassed when the deadline (monotonic seconds) goes by before the last row was begun, RuntimeFailed
        when the runtime threw, ModelNotReady after `stop`. A caller that is cancelled leaves the queue without being
        executed.
        """
        future: asyncio.Future[Ran] = self._loop.create_future()
        self.submit(rows, deadline, cast("Waiter", future))
        return await future

    def submit(self, rows: Arrays, deadline: float, waiter: Waiter) -> None:
        """As `run`, for a caller that is told instead of waiting."""
        if self._stopped:
            waiter.set_exception(ModelNotReady(_UNLOADED))
            return
        count = len(next(iter(rows.values())))
        self._queue.append(Entry(rows, count, deadline, time.monotonic(), waiter))
        if self._idle:
            self._dispatch()

    @property
    def stopped(self) -> bool:
        """Whether it takes no more rows."""
        return self._stopped

    async def swap(self, runtimes: Sequence[Runtime], max_batch_size: int) -> None:
        """Gives every batch from now on to these runtimes; those before end the batch in hand and are closed.

        After `stop` it is the new ones that are closed.
        """
        if self._stopped:
            await asyncio.to_thread(_close, runtimes)
            return
        before = self._instances
        self.max_batch_size = max_batch_size
        self._instances = self._instances_of(runtimes)
        self._idle = list(self._instances)
        for instance in before:
            instance.retired = True
        self._dispatch()
        await asyncio.to_thread(_stop, before)

    async def stop(self) -> None:
        """Waits for the batches in hand and ends the instances.

        Whoever still waits in the queue gets ModelNotReady; `service.models` stops only what has no lease.
        """
        self._stopped = True
        for entry in self._queue:
            entry.fail(ModelNotReady(_UNLOADED))
        self._queue.clear()
        await asyncio.to_thread(_stop, self._instances)

    def _instances_of(self, runtimes: Sequence[Runtime]) -> list[Instance]:
        return [Instance(runtime, self._signature, self.max_batch_size, self._finish) for runtime in runtimes]

    def _dispatch(self) -> None:
        while self._idle and (batch := self._form()):
            instance = self._idle.pop()
            self._started[instance] = time.monotonic()
            instance.start(batch)

    def _form(self) -> list[Slice]:
        batch: list[Slice] = []
        room, now = self.max_batch_size, time.monotonic()
        while self._queue and room:
            entry = self._queue[0]
            if not self._wanted(entry, now):
                self._queue.popleft()
                continue
            if batch and self._mixed and entry.row_shapes != batch[0].entry.row_shapes:
                break
            part = entry.take(room)
            room -= part.count
            batch.append(part)
            if entry.taken == entry.count:
                self._queue.popleft()
        return batch

    def _wanted(self, entry: Entry, now: float) -> bool:
        if now > entry.deadline:
            waited = now - entry.arrived
            begun = f"{entry.taken} of {entry.count} pictures were begun" if entry.taken else "nothing was executed"
            entry.fail(DeadlinePassed(f"the deadline passed after {waited:.3f} s in the queue; {begun}"))
        return not entry.waiter.done()

    def _finish(self, instance: Instance, batch: Sequence[Slice], outcome: Outcome) -> None:
        """Gives the instance its next batch first, then answers this one."""
        started = self._started.pop(instance)
        if not instance.retired:
            self._idle.append(instance)
            self._dispatch()
        self._metrics.compute.observe(outcome.seconds)
        self._metrics.batch_size.observe(sum(part.count for part in batch))
        begin = 0
        for part in batch:
            waited = started - part.entry.arrived
            self._metrics.queue.observe(waited)
            if outcome.error is not None:
                part.entry.fail(outcome.error)
            else:
                own = {name: values[begin : begin + part.count] for name, values in outcome.outputs.items()}
                _deliver(part, own, waited, outcome.seconds)
            begin += part.count


def _stop(instances: Sequence[Instance]) -> None:
    for instance in instances:
        instance.stop()


def _close(runtimes: Sequence[Runtime]) -> None:
    for runtime in runtimes:
        runtime.close()


def _deliver(part: Slice, outputs: Arrays, queue_seconds: float, compute_seconds: float) -> None:
    try:
        part.entry.deliver(part, outputs, queue_seconds, compute_seconds)
    except (ValueError, KeyError) as error:
        part.entry.fail(RuntimeFailed(f"the runtime's outputs differ from batch to batch: {error}"))
