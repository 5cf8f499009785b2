"""What goes into the data plane and what comes out of it, free of any wire."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.batching.entries import Priority
from service.models.version import ModelQuery, Servable
from service.runtimes.base import Array

Images = Sequence[bytes]


@dataclass(slots=True)
class Request:
    """What a caller asks: encoded pictures or a tensor [n, ...] for each input ("" is the only one's name).

    With `explain`, the heads' activation maps too.
    """

    model: ModelQuery
    inputs: Mapping[str, Images | Array]
    top_k: int | None = None
    deadline: float = math.inf
    priority: Priority = Priority.INTERACTIVE
    explain: bool = False


@dataclass(slots=True)
class HeadAnswer:
    """The best classes of one head: indices int64 [m, k] and scores float32 [m, k], best first.

    `maps` are the activation maps of the first of these classes, float32 [m, at most DEFAULT_TOP_K, rows, columns];
    None where they were not asked for or the head has none.
    `abstained`, bool [m], says of which pictures the model is too unsure; None for a head that never abstains.
    """

    name: str
    labels: tuple[str, ...]
    indices: Array
    scores: Array
    maps: Array | None = None
    abstained: Array | None = None


@dataclass(slots=True)
class Answer:
    """The answer to a call of `count` pictures: heads for those that are not in `errors`, in order.

    The three durations are the longest of each stage over the call's parts, in seconds.
    """

    servable: Servable
    count: int
    heads: Sequence[HeadAnswer]
    errors: Mapping[int, str]
    preprocess_seconds: float
    queue_seconds: float
    compute_seconds: float


class Reply(Protocol):
    """Who asked, seen from the data plane. Exactly one of `answered` and `failed` is called, unless the caller left."""

    def done(self) -> bool:
        """Whether the caller has left."""
        ...

    def answered(self, answer: Answer) -> None: ...

    def failed(self, error: Exception) -> None: ...
