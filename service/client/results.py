"""What the server answers, as frozen values without a trace of gRPC.

Made by `service.client.messages`, handed out by both clients. All times are seconds, all sequences are in the server's
order. They compare by content and can be pickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of one picture; `score` is the head's activation, a probability for softmax and sigmoid."""

    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of the call went on the server, in seconds; over several batches, the longest of each."""

    preprocess: float
    queue: float
    compute: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one picture: for each head, in the manifest's order, its classes, best first.

    `model` and `version` are what answered, `timing` is that of the whole call that the picture travelled in.
    """

    heads: Mapping[str, tuple[ClassScore, ...]]
    model: str
    version: int
    timing: Timing

    @property
    def classes(self) -> tuple[ClassScore, ...]:
        """The only head's classes, best first. Raises ValueError for a model with several heads."""
        if len(self.heads) != 1:
            raise ValueError(f"model {self.model!r} has the heads {', '.join(self.heads)}: choose with .heads[NAME]")
        return next(iter(self.heads.values()))

    @property
    def best(self) -> ClassScore:
        """The only head's best class. Raises ValueError for a model with several heads."""
        return self.classes[0]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version's state: LOADING, READY, UNLOADING or UNAVAILABLE, the last with its reason."""

    version: int
    state: str
    reason: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model of the repository and its versions, ascending.

    `problem` says what is wrong with its `convoy.toml`, policy or labels while what it had goes on; empty if nothing.
    """

    name: str
    versions: tuple[VersionStatus, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of the graph; -1 in the shape means any size, the first dimension is the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How the server turns an encoded picture into the named input's pixels."""

    input: str
    height: int
    width: int
    channels: int
    resize: str
    kernel: str


@dataclass(frozen=True, slots=True)
class Head:
    """One classification that the model gives, with the labels of its classes in the order of their index."""

    name: str
    output: str
    activation: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model: all its versions, and what `version` of it is, takes and gives.

    `training_metrics` were measured when it was trained; `runtime` says what runs it and `plan` why so, empty where the
    server does not tell. Where no version is READY, `version` is None and only `versions` and `problem` tell more.
    """

    name: str
    version: int | None
    versions: tuple[VersionStatus, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: tuple[Preprocessing, ...]
    heads: tuple[Head, ...]
    training_metrics: Mapping[str, float]
    runtime: str
    problem: str = ""
    plan: str = ""
