"""A runtime whose timing belongs to the test: it gives its rows back, when it is told to."""

import threading
from collections.abc import Callable

from bundle.manifest import Signature, TensorSpec
from service.runtimes.base import Array, Arrays, RuntimeInfo

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="int64", shape=(None, 1)),),
    outputs=(TensorSpec(name="y", dtype="int64", shape=(None, 1)),),
)


def echo(inputs: Arrays) -> dict[str, Array]:
    """Every row as it came; a copy, as real runtimes give, because batches share one buffer."""
    return {"y": inputs["x"].copy()}


class FakeRuntime:
    """Keeps what it ran in `batches`, and in `options` what else each run was told. Where it is `held`, each run waits
    for a `release` after it has begun. Explained rows bring themselves times ten.
    """

    def __init__(self, answer: Callable[[Arrays], dict[str, Array]] = echo, *, held: bool = False) -> None:
        self.info = RuntimeInfo("fake", "fp32", "cpu", 1)
        self.batches: list[list[int]] = []
        self.options: list[dict[str, bool]] = []
        self.begun = threading.Semaphore(0)
        self.closed = False
        self._answer = answer
        self._turns = threading.Semaphore(0) if held else None

    def run(self, inputs: Arrays, **options: bool) -> dict[str, Array]:
        self.batches.append([int(row.flat[0]) for row in inputs["x"]])
        self.options.append(options)
        self.begun.release()
        if self._turns is not None:
            self._turns.acquire()
        return self._answer(inputs) | ({"why": inputs["x"] * 10} if options.get("explain") else {})

    def release(self, runs: int = 1) -> None:
        """Lets so many runs end."""
        assert self._turns is not None
        self._turns.release(runs)

    def let_go(self) -> None:
        """Lets every run end, so that a test which failed does not hang as well."""
        if self._turns is not None:
            self.release(100)

    def close(self) -> None:
        self.closed = True
