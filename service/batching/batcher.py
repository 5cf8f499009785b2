"""The queue of one model version, at the door and at the end.

An idle instance takes what is there as soon as the event loop has gone through the burst it has received, and several
share it; while all are busy, rows accumulate. So a lone request never waits and batches grow exactly as fast as the
load does; there is no delay to tune. A call whose deadline can't be met is refused when it comes, entries that expire
or whose caller leaves are never executed, and every entry is answered, whatever a runtime does. All state belongs to
the event loop. Called by `service.inference`, owned by `service.models`.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, cast

from bundle.manifest import Signature
from service.batching.entries import Batch, Entry, Priority, Ran, Waiter
from service.batching.estimate import Estimate
from service.batching.instance import Piece
from service.batching.instances import Instances, Renewal
from service.batching.throughput import Throughput
from service.batching.waiting import Waiting
from service.errors import CannotMeetDeadline, ModelNotReady, RuntimeFailed
from service.runtimes.base import Arrays, Runtime
from service.telemetry.metrics import VersionMetrics

TIMEOUT_SECONDS: Final = 30.0
# A refused caller is never told to come back at once: what it was refused for takes a while to go away.
LEAST_RETRY_SECONDS: Final = 0.1
# Of the time a call has left when it comes. Estimates are means, and know nothing of the way to and from the server: of
# the calls that only just fit, half would be late, and each of those takes the cores as long as one that is answered.
HEADROOM: Final = 0.3
_UNLOADED = "the model was unloaded before this call's turn; try again"


class Batcher:
    """Runs rows on the runtimes in batches of up to `max_batch_size`, by the rule of `service.batching.waiting`."""

    def __init__(
        self,
        runtimes: Sequence[Runtime],
        signature: Signature,
        *,
        max_batch_size: int,
        metrics: VersionMetrics,
        timeout: float = TIMEOUT_SECONDS,
        renewal: Renewal | None = None,
    ) -> None:
        """`timeout` is the seconds of one batch after which its instance is given up; `renewal` replaces it."""
        self.max_batch_size = max_batch_size
        self.estimate = Estimate()
        self.throughput = Throughput()
        self.changed: Callable[[], None] = _nothing
        """Called when `problem` changed; `service.models` sets it."""
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._waiting = Waiting(max_batch_size, mixed=any(None in spec.shape[1:] for spec in signature.inputs))
        self._coming = {Priority.INTERACTIVE: 0, Priority.BATCH: 0}
        self._refusal = ""
        self._stopped = False
        self._dispatching = False
        self._signature = signature
        self._timeout = timeout
        self._instances = self._instances_of(runtimes, renewal)

    @property
    def stopped(self) -> bool:
        """Whether it takes no more rows."""
        return self._stopped

    @property
    def problem(self) -> str:
        """Why no batch can be run, in words; empty where one can."""
        return self._instances.problem

    @property
    def renewing(self) -> bool:
        """Whether what is the problem is being mended, and hasn't failed to be."""
        return self._instances.renewing

    @property
    def lost(self) -> bool:
        """Whether what is the problem could not be mended so often that only a new process may help."""
        return self._instances.lost

    @property
    def device(self) -> str:
        """The device of its runtimes, never "auto"."""
        return self._instances.device

    def prove_idle(self) -> None:
        """Has the runtimes that are idle prove themselves, since others on their device broke."""
        self._instances.prove_idle()

    async def run(
        self,
        rows: Arrays,
        deadline: float = math.inf,
        priority: Priority = Priority.INTERACTIVE,
        *,
        explain: bool = False,
    ) -> Ran:
        """Runs rows [n, ...] of every input and waits for their outputs, with `explain` for the explanations too.

        Raises CannotMeetDeadline when there is no hope to be back by the deadline (monotonic seconds), DeadlinePassed
        when it goes by before the last row was begun, RuntimeFailed when the runtime threw or hung, ModelNotReady after
        `stop` or while no instance works. A caller that is cancelled leaves the queue without being executed.
        """
        self.check_deadline(len(next(iter(rows.values()))), deadline, priority)
        future: asyncio.Future[Ran] = self._loop.create_future()
        entry = self.submit(rows, deadline, cast("Waiter", future), priority, explain=explain)
        try:
            return await future
        except asyncio.CancelledError:
            if entry is not None:
                self.leave(entry)
            raise

    def submit(
        self,
        rows: Arrays,
        deadline: float,
        waiter: Waiter,
        priority: Priority = Priority.INTERACTIVE,
        *,
        explain: bool = False,
    ) -> Entry | None:
        """As `run`, for a caller that is told instead of waiting and has asked `check_at_door`.

        Gives what to `leave` with; None where the waiter was refused.
        """
        if self._refusal:
            waiter.set_exception(ModelNotReady(self._refusal))
            return None
        entry = Entry(rows, len(next(iter(rows.values()))), deadline, time.monotonic(), waiter, priority, explain)
        self._waiting.push(entry)
        if self._instances.idle and not self._dispatching:
            # Not before the loop has gone through what it has received: a burst is one batch, not a small one and a
            # rest that waits for it.
            self._dispatching = True
            self._loop.call_soon(self._dispatch)
        return entry

    def leave(self, entry: Entry) -> None:
        """The entry's caller, who is done waiting, left."""
        self._waiting.leave(entry)

    def expect(self, count: int, priority: Priority) -> None:
        """So many more rows are on their way here and not submitted yet; fewer, where `count` is negative."""
        self._coming[priority] += count

    def check_at_door(self, count: int, deadline: float, priority: Priority, decoding: float | None = None) -> None:
        """As `check_deadline`, for a call that comes now: a share `HEADROOM` of its time is to be left over.

        `decoding` is for pictures: the estimated seconds until they are rows, 0 where that can begin at once. They
        stand behind the rows that are on their way already; None is for rows, which don't.
        """
        if deadline == math.inf:
            return
        ahead = self._waiting.ahead(priority)
        if decoding is not None:
            ahead += self._coming[Priority.INTERACTIVE]
            ahead += self._coming[Priority.BATCH] if priority is Priority.BATCH else 0
        self._check(count, deadline, ahead, decoding or 0.0, HEADROOM)

    def check_deadline(self, count: int, deadline: float, priority: Priority) -> None:
        """Raises CannotMeetDeadline where `count` rows that come now would, at the estimate, not be back in time.

        What can begin at once is never refused: it is what the estimate learns from.
        """
        if deadline != math.inf:
            self._check(count, deadline, self._waiting.ahead(priority))

    def _check(self, count: int, deadline: float, ahead: int, decoding: float = 0.0, headroom: float = 0.0) -> None:
        """As both say: `count` rows behind `ahead` others, here in `decoding` seconds."""
        now = time.monotonic()
        left = (1 - headroom) * (deadline - now)
        # Nearly all calls have time enough for every batch to take the longest there is; only the others are reckoned.
        rows = ahead + count
        most = (2 + rows / self.max_batch_size) * self.estimate.longest
        if left > decoding + most + rows * self.throughput.seconds_per_row:
            return
        wait, run = 0.0, 0.0
        if self.estimate.known and (ahead or not self._instances.idle):
            wait, run = self._seconds(ahead, count, now)
        if decoding:  # what is ahead is run meanwhile, but then an instance is seldom idle at once
            wait = max(wait, decoding + run)
        if 0 < left < wait + run:
            raise CannotMeetDeadline(deadline - now, wait, run, max(wait, LEAST_RETRY_SECONDS))

    def retry_after(self) -> float:
        """In how many seconds, at the estimate, all that waits now is begun."""
        wait, _ = self._seconds(self._waiting.ahead(Priority.BATCH), 1, time.monotonic())
        return max(wait, LEAST_RETRY_SECONDS)

    async def swap(self, runtimes: Sequence[Runtime], max_batch_size: int, renewal: Renewal | None = None) -> None:
        """Gives every batch from now on to these runtimes; those before end the batch in hand and are closed.

        After `stop` it is the new ones that are closed.
        """
        if self._stopped:
            await asyncio.to_thread(_close, runtimes)
            return
        before = self._instances
        self.max_batch_size = self._waiting.max_batch_size = max_batch_size
        self.estimate, self.throughput = Estimate(), Throughput()
        self._instances = self._instances_of(runtimes, renewal)
        self._instances_changed()
        await before.stop()

    async def stop(self) -> None:
        """Waits for the batches in hand and ends the instances.

        Whoever still waits in the queue gets ModelNotReady; `service.models` stops only what has no lease.
        """
        self._stopped = True
        self._refuse(_UNLOADED)
        await self._instances.stop()
        self.changed = _nothing

    def _instances_of(self, runtimes: Sequence[Runtime], renewal: Renewal | None) -> Instances:
        return Instances(
            runtimes,
            self._signature,
            self.max_batch_size,
            timeout=self._timeout,
            renewal=renewal,
            metrics=self._metrics,
            finished=partial(self._finish, self.estimate),
            freed=self._dispatch,
            changed=self._instances_changed,
        )

    def _seconds(self, ahead: int, count: int, now: float) -> tuple[float, float]:
        """The seconds until the last of `count` rows behind `ahead` others is begun, and of its run."""
        full, rest = divmod(ahead + count - 1, self.max_batch_size)
        wait = self._instances.seconds_busy(self.estimate, now)
        if full:
            runs = self.estimate.seconds(self.max_batch_size) / max(1, len(self._instances))
            wait += full * max(runs, self.throughput.seconds_per_row * self.max_batch_size)
        return wait, self.estimate.seconds(rest + 1)

    def _dispatch(self) -> None:
        """Shares what waits among the idle instances."""
        self._dispatching = False
        while idle := len(self._instances.idle):
            batch = self._waiting.form(math.ceil(self._waiting.rows / idle))
            if not batch:
                return
            self._instances.start(batch)

    def _finish(self, estimate: Estimate, began: float, pieces: Sequence[Piece]) -> None:
        """Gives the instance its next batch first, then answers this one; `estimate` is that of its instances."""
        self._dispatch()
        rows, ran = 0, 0
        for piece in pieces:
            count = self._answer(began, piece)
            rows += count
            if piece.error is None:
                ran += count
                estimate.observe(count, piece.seconds)
        self._metrics.batch_size.observe(rows)
        if estimate is self.estimate:  # not a late batch of those before a swap
            self.throughput.observe(ran, time.monotonic(), busy=self._instances.all_busy)

    def _answer(self, began: float, piece: Piece) -> int:
        """Answers those that were run together; gives their rows."""
        self._metrics.compute.observe(piece.seconds)
        batch = Batch(piece.outputs)
        first = 0
        for part in piece.slices:
            entry = part.entry
            waited = began - entry.arrived
            self._metrics.queue.observe(waited)
            if piece.error is not None:
                entry.fail(piece.error)
            else:
                try:
                    entry.deliver(part, batch, first, waited, piece.seconds)
                except Exception as error:  # whatever it is, the batch's other entries are answered
                    entry.fail(RuntimeFailed(f"the runtime's outputs differ from batch to batch: {error}"))
            first += part.count
        return first

    def _instances_changed(self) -> None:
        """Whoever waits while nothing works is told to ask elsewhere, rather than to wait for what may never come."""
        if self._stopped:
            return
        if self.problem:
            self._refuse(self.problem)
        else:
            self._refusal = ""
            self._dispatch()
        self.changed()

    def _refuse(self, why: str) -> None:
        self._refusal = why
        self.throughput = Throughput()
        for entry in self._waiting.clear():
            entry.fail(ModelNotReady(why))


def _close(runtimes: Sequence[Runtime]) -> None:
    for runtime in runtimes:
        runtime.close()


def _nothing() -> None:
    pass
