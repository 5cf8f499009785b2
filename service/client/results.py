"""What the server answers, as frozen values without a trace of gRPC.

Made by `service.client.messages`, handed out by both clients. All times are seconds, all sequences are in the server's
order. They compare by content, can be pickled, and print as a line, however many labels and places they hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")

# Rows of columns, which divide the model's input evenly: how much each place adds to one class's logit.
ActivationMap: TypeAlias = tuple[tuple[float, ...], ...]

_SHOWN = 5  # classes or labels in one line


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of one picture; `score` is the head's activation, a probability for softmax and sigmoid.

    `activation_map` is there where the call said `explain`, for the 5 best classes at most.
    """

    label: str
    index: int
    score: float
    activation_map: ActivationMap | None = None

    def __str__(self) -> str:
        """As "rose 0.974"."""
        return f"{self.label or f'class {self.index}'} {self.score:.3f}"

    def __repr__(self) -> str:
        """All but the map's values."""
        places = self.activation_map
        size = f", activation_map={len(places)}x{len(places[0])}" if places else ""
        return f"ClassScore(label={self.label!r}, index={self.index}, score={self.score:.6g}{size})"


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
    `abstained` names the heads on which the model is too unsure for its answer to be used.
    """

    heads: Mapping[str, tuple[ClassScore, ...]]
    model: str
    version: int
    timing: Timing
    abstained: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As "rose 0.974, tulip 0.021 (flowers version 3)", the best classes of each head."""
        return f"{'; '.join(map(self._line, self.heads))} ({self.model} version {self.version})"

    def __repr__(self) -> str:
        """The same within Classification(...)."""
        return f"Classification({self})"

    def _line(self, head: str) -> str:
        of_head = f"{head}: " if len(self.heads) > 1 else ""
        return f"{of_head}{'unsure: ' if head in self.abstained else ''}{_listed(self.heads[head], str)}"

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
    """How the server turns an encoded picture into the named input's pixels; `bundle.manifest` tells all of it."""

    input: str
    height: int
    width: int
    channels: int
    resize: str
    kernel: str
    crop_fraction: float = 1.0
    background: int = 0
    exif_orientation: bool = True


@dataclass(frozen=True, slots=True)
class Head:
    """One classification that the model gives, with the labels of its classes in the order of their index.

    `explains` says whether it has activation maps to ask for. `temperature` is what its logits are divided by, None if
    it was never fitted; answers whose best score is below `abstain_below` are marked as abstained, None where no answer
    is.
    """

    name: str
    output: str
    activation: str
    labels: tuple[str, ...]
    explains: bool = False
    temperature: float | None = None
    abstain_below: float | None = None

    def __repr__(self) -> str:
        """Its name, what it gives, and some of its labels."""
        return f"Head(name={self.name!r}, activation={self.activation!r}, labels=({_listed(self.labels, repr)}))"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model: all its versions, and what `version` of it is, takes and gives.

    `training_metrics` were measured when it was trained or published; `runtime` says what runs it and `plan` why so,
    empty where the server does not tell. Where no version is READY, `version` is None and only `versions` and `problem`
    tell more.
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

    def __repr__(self) -> str:
        """What tells it from others; the tensors and the training are left to their fields."""
        states = ", ".join(f"{status.version} {status.state}" for status in self.versions)
        more = f", problem={self.problem!r}" if self.problem else ""
        return (
            f"ModelInfo(name={self.name!r}, version={self.version}, versions=({states}), heads={list(self.heads)}, "
            f"runtime={self.runtime!r}{more})"
        )


def _listed(values: Sequence[T], word: Callable[[T], str]) -> str:
    """The first of them in words, and how many more there are."""
    more = f", {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    return ", ".join(map(word, values[:_SHOWN])) + more
