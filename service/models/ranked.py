"""A runtime that also ranks: the best classes of every head, picked for the whole batch in the runtime's own thread.

A call that asks for no more than `DEFAULT_TOP_K` classes, as nearly all do, finds them beside the outputs, so nothing
is sorted a call at a time on the event loop. Of activation maps only those of the ranked classes are kept: all of them
would be a thousand for a thousand classes. Made by `service.models.loader` around each runtime.
"""

from collections.abc import Sequence

import numpy as np

from bundle.manifest import Head
from bundle.postprocessing import top_k
from service.models.version import DEFAULT_TOP_K
from service.runtimes.base import Array, Arrays, Runtime, RuntimeInfo


class RankedRuntime:
    """The runtime's outputs [n, ...], and for each head its ranked indices int64 and scores float32, both [n, k].

    Where explanations are asked for, also the ranked classes' activation maps, float32 [n, k, rows, columns].
    """

    def __init__(self, runtime: Runtime, heads: Sequence[Head]) -> None:
        self.unranked = runtime
        self._heads = heads

    @property
    def info(self) -> RuntimeInfo:
        """What the runtime itself tells."""
        return self.unranked.info

    def run(self, inputs: Arrays, *, explain: bool = False) -> dict[str, Array]:
        """Runs one batch and ranks it."""
        outputs = self.unranked.run(inputs, explain=True) if explain else self.unranked.run(inputs)
        for head in self._heads:
            scores = outputs[head.output]
            ranked = top_k(scores, min(DEFAULT_TOP_K, scores.shape[1]))
            outputs[indices_of(head.name)], outputs[scores_of(head.name)] = ranked
            if explain and head.activation_map:
                outputs[maps_of(head.name)] = _of_classes(outputs.pop(head.activation_map), ranked[0])
        return outputs

    def close(self) -> None:
        """Closes the runtime."""
        self.unranked.close()


def indices_of(head: str) -> str:
    """The name under which a head's ranked indices stand; no graph can have it."""
    return f"{head}\0indices"


def scores_of(head: str) -> str:
    """The name under which a head's ranked scores stand."""
    return f"{head}\0scores"


def maps_of(head: str) -> str:
    """The name under which the activation maps of a head's ranked classes stand, where they were asked for."""
    return f"{head}\0maps"


def _of_classes(maps: Array, indices: Array) -> Array:
    """From maps [n, rows, columns, classes] those of each row's classes `indices` [n, k], as [n, k, rows, columns]."""
    chosen = np.take_along_axis(maps, indices[:, np.newaxis, np.newaxis, :], axis=3)
    return np.ascontiguousarray(np.moveaxis(chosen, 3, 1), np.float32)
