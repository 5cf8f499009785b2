"""One caller's rows on their way through the batches.

An entry may carry many rows and be spread over several batches; its waiter is completed exactly once, when the last row
is back, or with the first error. Belongs to the event loop; only the arrays are read by the instances' threads.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np

from service.runtimes.base import Array, Arrays


class Priority(Enum):
    """Whose rows go first. INTERACTIVE: somebody waits for the answer. BATCH: a job that takes what is left."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(slots=True, eq=False)
class Batch:
    """The outputs [rows, ...] by name of rows that were run together.

    `best` is room for what is made of them once, for all whose rows they are, by the number of classes asked for.
    """

    outputs: Arrays
    best: dict[int, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Ran:
    """What an entry gets back: `count` rows of a batch's outputs from row `first` on, its longest wait and run in
    seconds.
    """

    batch: Batch
    first: int
    count: int
    queue_seconds: float
    compute_seconds: float

    @property
    def outputs(self) -> dict[str, Array]:
        """The entry's own rows [count, ...] by name."""
        own = slice(self.first, self.first + self.count)
        return {name: values[own] for name, values in self.batch.outputs.items()}


class Waiter(Protocol):
    """Who waits for an entry: an asyncio future, or a call that answers by itself. Completed exactly once."""

    def done(self) -> bool:
        """Whether it is completed or its caller has left."""
        ...

    def set_result(self, result: Ran, /) -> None: ...

    def set_exception(self, exception: Exception, /) -> None: ...


@dataclass(slots=True, eq=False)
class Entry:
    """Rows [n, ...] of every input, when they must be begun (monotonic seconds) and where the answer goes.

    `explain` asks for the explanations beside the outputs. `gone` is set once its rows that were not taken are out of
    the count of those that wait.
    """

    rows: Arrays
    count: int
    deadline: float
    arrived: float
    waiter: Waiter
    priority: Priority = Priority.INTERACTIVE
    explain: bool = False
    taken: int = 0
    gone: bool = False
    _returned: int = 0
    _queue_seconds: float = 0.0
    _compute_seconds: float = 0.0
    _outputs: dict[str, Array] = field(default_factory=dict)

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one row of every input: only rows of equal shapes can stand side by side in a batch."""
        return {name: values.shape[1:] for name, values in self.rows.items()}

    def take(self, most: int) -> "Slice":
        """The next rows, at most so many."""
        part = Slice(self, self.taken, min(self.count - self.taken, most))
        self.taken += part.count
        return part

    def deliver(self, part: "Slice", batch: Batch, first: int, queue_seconds: float, compute_seconds: float) -> None:
        """Takes the outputs of one slice, from row `first` of the batch on; the last slice completes the waiter.

        Raises ValueError or KeyError where the outputs are not like those of the entry's other slices.
        """
        if self.waiter.done():
            return
        ran = Ran(batch, first, part.count, queue_seconds, compute_seconds)
        if part.count == self.count:
            self.waiter.set_result(ran)
            return
        self._gather(part, ran.outputs)
        self._queue_seconds = max(self._queue_seconds, queue_seconds)
        self._compute_seconds = max(self._compute_seconds, compute_seconds)
        self._returned += part.count
        if self._returned == self.count:
            gathered = Batch(self._outputs)
            self.waiter.set_result(Ran(gathered, 0, self.count, self._queue_seconds, self._compute_seconds))

    def fail(self, error: Exception) -> None:
        """Completes the waiter with the error, unless it is complete or its caller has left."""
        if not self.waiter.done():
            self.waiter.set_exception(error)

    def _gather(self, part: "Slice", outputs: Arrays) -> None:
        if not self._outputs:
            self._outputs = {name: np.empty((self.count, *of.shape[1:]), of.dtype) for name, of in outputs.items()}
        if outputs.keys() != self._outputs.keys():
            raise KeyError(f"outputs {sorted(outputs)} after {sorted(self._outputs)}")
        for name, values in outputs.items():
            self._outputs[name][part.start : part.start + part.count] = values


@dataclass(slots=True, eq=False)
class Slice:
    """`count` rows of an entry from row `start` on, inside one batch."""

    entry: Entry
    start: int
    count: int

    def rows(self, name: str) -> Array:
        """Its rows of an input, a view."""
        rows = self.entry.rows[name]
        return rows if self.count == self.entry.count else rows[self.start : self.start + self.count]
