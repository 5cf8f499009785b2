"""The `Runtime` protocol and the values around it. Batching and jobs know runtimes only through these.

A runtime is opened for one variant on one device, is called from one thread at a time, and never changes its inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What runs a variant: engine and version, variant's name, device in use (never "auto"), threads of one run.

    `padded` says that batches are run in the sizes of `service.runtimes.sizes`.
    """

    engine: str
    variant: str
    device: str
    threads: int
    padded: bool = False

    def __str__(self) -> str:
        return f"{self.engine} {self.variant} on {self.device}, {self.threads} thread{'s' * (self.threads != 1)}"


class Runtime(Protocol):
    """Executes one variant of one bundle."""

    @property
    def info(self) -> RuntimeInfo: ...

    def run(self, inputs: Arrays, *, explain: bool = False) -> dict[str, Array]:
        """Runs one batch: every input [n, ...] in its signature's dtype, every output [n, ...], by signature name.

        With `explain`, the signature's explanations [n, ...] come with the outputs, for a second run's price. Without
        it, which is how nearly all batches run, they cost nothing.
        """
        ...

    def close(self) -> None:
        """Gives the memory back. The runtime is not used again."""
        ...
