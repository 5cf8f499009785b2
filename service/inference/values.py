"""What goes into the data plane and what comes out of it, free of any wire."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.batching.entries import Priority
from service.models.version import ModelQuery, Servable
from service.runtimes.base import Array

Images = Sequence[bytes]


@dataclass(slots=True, eq=False)
class Form:
    """All of a request but the values of its one tensor and its deadline; requests that have these in common share it.

    `seen` is room for what the data plane found when it checked one of them.
    """

    seen: Any = None


@dataclass(slots=True)
class Request:
    """What a caller asks: encoded pictures or a tensor [n, ...] for each input ("" is the only one's name).

    With `explain`, the heads' activation maps too. `form` is known where others like it came before.
    """

    model: ModelQuery
    inputs: Mapping[str, Images | Array]
    top_k: int | None = None
    deadline: float = math.inf
    priority: Priority = Priority.INTERACTIVE
    explain: bool = False
    form: Form | None = None


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


@dataclass(slots=True, eq=False)
class Best:
    """The heads' best classes for some rows. Answers share it where their rows ran in one batch.

    `encoded` is room for what a transport makes of each row, once for all of these answers.
    """

    heads: Sequence[HeadAnswer]
    encoded: Sequence[bytes] = ()


@dataclass(slots=True, eq=False)
class Answer:
    """The answer to a call of `count` pictures: for those that are not in `errors`, in order, the rows of `best` from
    row `first` on.

    The three durations are the longest of each stage over the call's parts, in seconds.
    """

    servable: Servable
    count: int
    best: Best
    first: int
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
