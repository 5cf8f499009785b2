"""One runtime and the thread that runs its batches, one at a time.

The thread copies the rows into the batch's preallocated buffer (the only copy a row sees), runs it, and hands outputs
or the error back to the event loop. It never touches an entry's state.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bundle.manifest import Signature
from service.batching.entries import Slice
from service.errors import RuntimeFailed
from service.runtimes.base import Array, Arrays, Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run went: outputs by name for all rows of the batch, or an error; and its seconds."""

    outputs: Arrays
    error: Exception | None
    seconds: float


Report = Callable[["Instance", Sequence[Slice], Outcome], None]


class Instance:
    """Runs batches of up to `max_batch_size` rows on one runtime; `report` is called on the loop after each.

    `retired` is the loop's mark on one that gets no further batch.
    """

    def __init__(self, runtime: Runtime, signature: Signature, max_batch_size: int, report: Report) -> None:
        self.runtime = runtime
        self.retired = False
        self._report = report
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
        """Runs the batch in the instance's thread. Not called again before its report."""
        self._inbox.put(batch)

    def stop(self) -> None:
        """Ends the thread after the batch in hand and gives the runtime back."""
        self._inbox.put(None)
        self._thread.join()
        try:
            self.runtime.close()
        except Exception:
            log.exception("runtime could not be closed", extra={"runtime": str(self.runtime.info)})

    def _work(self) -> None:
        while (batch := self._inbox.get()) is not None:
            outcome = self._run(batch)
            self._loop.call_soon_threadsafe(self._report, self, batch, outcome)

    def _run(self, batch: Sequence[Slice]) -> Outcome:
        began = time.monotonic()
        outputs: Mapping[str, Array] = {}
        error: Exception | None = None
        try:
            outputs = self.runtime.run(self._fill(batch))
            rows = sum(part.count for part in batch)
            if any(len(values) != rows for values in outputs.values()):
                returned = {name: len(values) for name, values in outputs.items()}
                raise RuntimeFailed(f"{self.runtime.info} got {rows} rows and gave back {returned}")
        except Exception as failure:
            log.exception("batch failed", extra={"runtime": str(self.runtime.info)})
            known = isinstance(failure, RuntimeFailed)
            error = failure if known else RuntimeFailed(f"{self.runtime.info} failed: {failure}")
        return Outcome(outputs, error, time.monotonic() - began)

    def _fill(self, batch: Sequence[Slice]) -> Arrays:
        """The batch's rows side by side: the one slice itself, or copied into the buffer."""
        if len(batch) == 1:
            only = batch[0]
            return {name: rows[only.start : only.stop] for name, rows in only.entry.rows.items()}
        return {name: self._pack(name, batch) for name in batch[0].entry.rows}

    def _pack(self, name: str, batch: Sequence[Slice]) -> Array:
        parts = [part.entry.rows[name][part.start : part.stop] for part in batch]
        buffer = self._buffers.get(name)
        if buffer is None:
            return np.concatenate(parts)
        return np.concatenate(parts, out=buffer[: sum(map(len, parts))])


def _sizes(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(size for size in shape if size is not None)
