"""One caller's rows on their way through the batches.

An entry may carry many rows and be spread over several batches; its waiter is completed exactly once, when the last row
is back, or with the first error. Belongs to the event loop; only the arrays are read by the instances' threads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np

from service.runtimes.base import Array, Arrays


class Priority(Enum):
    """Whose rows go first. INTERACTIVE: somebody waits for the answer. BATCH: a job that takes what is left."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(slots=True)
class Ran:
    """What an entry gets back: outputs [n, ...] by name, and its longest wait and run in seconds."""

    outputs: Mapping[str, Array]
    queue_seconds: float
    compute_seconds: float


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
        part = Slice(self, self.taken, min(self.count, self.taken + most))
        self.taken = part.stop
        return part

    def deliver(self, part: "Slice", outputs: Arrays, queue_seconds: float, compute_seconds: float) -> None:
        """Takes the outputs of one slice; the last slice completes the waiter.

        Raises ValueError or KeyError where the outputs are not like those of the entry's other slices.
        """
        if self.waiter.done():
            return
        if part.count == self.count:
            self.waiter.set_result(Ran(outputs, queue_seconds, compute_seconds))
            return
        self._gather(part, outputs)
        self._queue_seconds = max(self._queue_seconds, queue_seconds)
        self._compute_seconds = max(self._compute_seconds, compute_seconds)
        self._returned += part.count
        if self._returned == self.count:
            self.waiter.set_result(Ran(self._outputs, self._queue_seconds, self._compute_seconds))

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
            self._outputs[name][part.start : part.stop] = values


@dataclass(slots=True, eq=False)
class Slice:
    """Rows start:stop of an entry, inside one batch."""

    entry: Entry
    start: int
    stop: int

    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = self.stop - self.start
