"""One runtime and the thread that runs its batches, one at a time.

The thread copies the rows into the batch's preallocated buffer (the only copy a row sees), runs it, and hands outputs
or errors back to the event loop. Where a batch of several entries throws, its halves are run again, and theirs, so that
only the entries that can't be run fail: at most 2n - 1 runs for n entries. Entries that ask for explanations are run
apart from the batch's others, after them, so that nothing is computed for who did not ask. It never touches an entry's
state.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from bundle.manifest import Signature
from service.batching.entries import Slice
from service.errors import RuntimeFailed
from service.runtimes.base import Array, Arrays, Runtime

log = logging.getLogger(__name__)

# Batches in a row of which nothing could be run, after which the runtime has to prove itself.
SUSPICIOUS: Final = 3
_SUSPECTED: Final = f"failed {SUSPICIOUS} batches in a row and then its proof"


@dataclass(frozen=True, slots=True)
class Piece:
    """Slices that were run together: outputs by name for all their rows, or an error; and the run's seconds.

    `again` says that a larger run, of which these are a part, threw before.
    """

    slices: Sequence[Slice]
    outputs: Arrays
    error: Exception | None
    seconds: float
    again: bool = False


Prove = Callable[[Runtime], None]


class Instance:
    """Runs batches of up to `max_batch_size` rows on one runtime.

    On the loop, `report` is called after each batch with its pieces in order and whether the runtime is proved now:
    where it threw `SUSPICIOUS` batches in a row. Then `proved` follows, with "" or why the instance is broken: `prove`
    raised. So inputs that no runtime can run don't count against it, and their callers don't wait for the proof.
    """

    def __init__(
        self,
        runtime: Runtime,
        signature: Signature,
        max_batch_size: int,
        *,
        report: Callable[["Instance", Sequence[Piece], bool], None],
        proved: Callable[["Instance", str], None],
        prove: Prove | None,
    ) -> None:
        self.runtime = runtime
        self._report = report
        self._proved = proved
        self._prove = prove
        self._failures = 0
        self._abandoned = False
        self._loop = asyncio.get_running_loop()
        self._buffers = {
            spec.name: np.empty((max_batch_size, *_sizes(spec.shape[1:])), np.dtype(spec.dtype))
            for spec in signature.inputs
            if None not in spec.shape[1:]
        }
        self._inbox: queue.SimpleQueue[Sequence[Slice] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"convoy-{runtime.info.variant}", daemon=True)
        self._thread.start()

    def start(self, batch: Sequence[Slice]) -> None:
        """Runs the batch in the instance's thread. Not called again before its report, and its proof."""
        self._inbox.put(batch)

    def prove(self) -> None:
        """Has the runtime prove itself in the instance's thread, and `proved` called. Not called while it runs."""
        self._inbox.put(())

    def end(self) -> None:
        """Ends the thread after the batch in hand; it closes the runtime."""
        self._inbox.put(None)

    def abandon(self) -> None:
        """The same for a thread that may never come back: nothing more is run, and nobody waits for it."""
        self._abandoned = True
        self.end()

    def join(self, seconds: float) -> None:
        """Waits for the thread's end, for so long at most."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.error("runtime does not come back", extra={"runtime": str(self.runtime.info)})

    def _work(self) -> None:
        while (batch := self._inbox.get()) is not None:
            if self._abandoned:
                continue
            if not batch:
                tell(self._loop, self._proved, self, self._problem("failed its proof"))
                continue
            pieces = self._pieces(batch)
            proving = self._prove is not None and self._failures >= SUSPICIOUS
            tell(self._loop, self._report, self, pieces, proving)
            if proving:
                tell(self._loop, self._proved, self, self._problem(_SUSPECTED))
        try:
            self.runtime.close()
        except Exception:
            log.exception("runtime could not be closed", extra={"runtime": str(self.runtime.info)})

    def _pieces(self, batch: Sequence[Slice]) -> Sequence[Piece]:
        asked = [part for part in batch if part.entry.explain]
        if not asked or len(asked) == len(batch):
            return self._alike(batch)
        pieces = self._alike([part for part in batch if not part.entry.explain])
        # Where the instance was given up meanwhile, the callers have been answered, and nobody looks at the pieces.
        return pieces if self._abandoned else [*pieces, *self._alike(asked)]

    def _alike(self, batch: Sequence[Slice]) -> Sequence[Piece]:
        """Runs slices that all ask for explanations, or none."""
        whole = self._run(batch)
        if whole.error is None:
            self._failures = 0
            return (whole,)
        pieces = self._halves(batch) if len(batch) > 1 else [whole]
        self._failures = 0 if any(piece.error is None for piece in pieces) else self._failures + 1
        return pieces

    def _halves(self, batch: Sequence[Slice]) -> list[Piece]:
        pieces: list[Piece] = []
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if self._abandoned:  # the callers have been answered, and nobody looks at the pieces
                break
            piece = self._run(half, again=True)
            divisible = piece.error is not None and len(half) > 1
            pieces += self._halves(half) if divisible else [piece]
        return pieces

    def _run(self, batch: Sequence[Slice], *, again: bool = False) -> Piece:
        began = time.monotonic()
        outputs: Mapping[str, Array] = {}
        error: Exception | None = None
        try:
            run = partial(self.runtime.run, explain=True) if batch[0].entry.explain else self.runtime.run
            outputs = run(self._fill(batch))
            rows = sum([part.count for part in batch])
            if any(len(values) != rows for values in outputs.values()):
                returned = {name: len(values) for name, values in outputs.items()}
                raise RuntimeFailed(f"{self.runtime.info} got {rows} rows and gave back {returned}")
        except Exception as failure:
            log.log(
                logging.DEBUG if again else logging.ERROR,
                "batch failed",
                exc_info=True,
                extra={"runtime": str(self.runtime.info)},
            )
            known = isinstance(failure, RuntimeFailed)
            error = failure if known else RuntimeFailed(f"{self.runtime.info} failed: {failure}")
        return Piece(batch, outputs, error, time.monotonic() - began, again)

    def _problem(self, what: str) -> str:
        """Why the runtime is broken, by its proof, in words that go on from `what`; "" where it passes."""
        self._failures = 0
        if self._prove is None or self._abandoned:
            return ""
        try:
            self._prove(self.runtime)
        except Exception as error:
            return f"{self.runtime.info} {what}: {error}"
        return ""

    def _fill(self, batch: Sequence[Slice]) -> Arrays:
        """The batch's rows side by side: the one slice itself, or copied into the buffer.

        Rows that are viewed inside a message may lie at any address, and runtimes expect an aligned one: those are
        copied too.
        """
        if len(batch) == 1 and all(rows.flags.aligned for rows in batch[0].entry.rows.values()):
            return {name: batch[0].rows(name) for name in batch[0].entry.rows}
        return {name: self._pack(name, batch) for name in batch[0].entry.rows}

    def _pack(self, name: str, batch: Sequence[Slice]) -> Array:
        parts = [part.rows(name) for part in batch]
        buffer = self._buffers.get(name)
        if buffer is None:
            return np.concatenate(parts)
        return np.concatenate(parts, out=buffer[: sum([part.count for part in batch])])


def tell(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> bool:
    """Calls the function on the loop, from a thread; False where the loop is closed: a thread may outlive it."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return False
    return True


def _sizes(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(size for size in shape if size is not None)
