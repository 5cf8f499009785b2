"""What goes into the data plane and what comes out of it, free of any wire."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.models.version import ModelQuery
from service.runtimes.base import Array

Images = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks: encoded pictures or a tensor [n, ...] for each input ("" is the only one's name)."""

    model: ModelQuery
    inputs: Mapping[str, Images | Array]
    top_k: int | None = None
    deadline: float = math.inf


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """The best classes of one head: indices int64 [m, k] and scores float32 [m, k], best first."""

    name: str
    labels: tuple[str, ...]
    indices: Array
    scores: Array


@dataclass(frozen=True, slots=True)
class Timing:
    """The longest of each stage over the call's parts, in seconds."""

    preprocess: float
    queue: float
    compute: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call of `count` pictures: heads for those that are not in `errors`, in order."""

    name: str
    version: int
    count: int
    heads: tuple[HeadAnswer, ...]
    errors: Mapping[int, str]
    timing: Timing
