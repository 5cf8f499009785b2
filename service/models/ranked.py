"""A runtime that also ranks: the best classes of every head, picked for the whole batch in the runtime's own thread.

A call that asks for no more than `DEFAULT_TOP_K` classes, as nearly all do, finds them beside the outputs, so nothing
is sorted a call at a time on the event loop. Made by `service.models.loader` around each runtime.
"""

from collections.abc import Sequence

from bundle.manifest import Head
from bundle.postprocessing import top_k
from service.models.version import DEFAULT_TOP_K
from service.runtimes.base import Array, Arrays, Runtime, RuntimeInfo


class RankedRuntime:
    """The runtime's outputs [n, ...], and for each head its ranked indices int64 and scores float32, both [n, k]."""

    def __init__(self, runtime: Runtime, heads: Sequence[Head]) -> None:
        self._runtime = runtime
        self._heads = heads

    @property
    def info(self) -> RuntimeInfo:
        """What the runtime itself tells."""
        return self._runtime.info

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Runs one batch and ranks it."""
        outputs = self._runtime.run(inputs)
        for head in self._heads:
            scores = outputs[head.output]
            ranked = top_k(scores, min(DEFAULT_TOP_K, scores.shape[1]))
            outputs[indices_of(head.name)], outputs[scores_of(head.name)] = ranked
        return outputs

    def close(self) -> None:
        """Closes the runtime."""
        self._runtime.close()


def indices_of(head: str) -> str:
    """The name under which a head's ranked indices stand; no graph can have it."""
    return f"{head}\0indices"


def scores_of(head: str) -> str:
    """The name under which a head's ranked scores stand."""
    return f"{head}\0scores"
