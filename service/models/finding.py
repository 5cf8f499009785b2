"""Which version of a model a caller means, and the sentence where it can't answer, which says what there is.

Pure: functions over a model's versions by number. The invariant: what is found is READY. ModelNotReady is for what may
pass, ModelUnusable for what waiting won't change. Called by `service.models.registry`.
"""

from collections.abc import Callable, Mapping

from service.errors import ModelNotFound, ModelNotReady, ModelUnusable, ServiceError
from service.models.labels import unknown
from service.models.version import ModelVersion, State

Versions = Mapping[int, ModelVersion]


def is_ready(of: Versions, number: int) -> bool:
    """Whether there is such a version and it can answer."""
    return number in of and of[number].state is State.READY


def by_label(
    of: Versions, name: str, label: str, labels: Mapping[str, int], held: Callable[[int], bool]
) -> ModelVersion:
    """The version that the label points to; `held` says whether the repository has one.

    Raises ModelNotFound, ModelNotReady or ModelUnusable.
    """
    if label not in labels:
        raise unknown(name, label, labels)
    number = labels[label]
    if is_ready(of, number):
        return of[number]
    gone = number not in of and not held(number)
    kind = ModelUnusable if gone or (number in of and of[number].hopeless) else ModelNotReady
    lacks = "not in the repository" if gone else "not READY"
    raise kind(f"label {label!r} of model {name!r} points to version {number}, which is {lacks}; it has: {states(of)}")


def by_number(of: Versions, name: str, number: int) -> ModelVersion:
    """The version with this number. Raises ModelNotFound, ModelNotReady or ModelUnusable."""
    version = of.get(number)
    if version is None:
        raise ModelNotFound(f"model {name!r} has no version {number}; it has: {states(of)}")
    if version.state is not State.READY:
        because = f": {version.reason}" if version.reason else ""
        kind = ModelUnusable if version.hopeless else ModelNotReady
        raise kind(f"version {number} of model {name!r} is {version.state}{because}")
    return version


def none_ready(of: Versions, name: str, problem: str) -> ServiceError:
    """The error for a model that has no READY version; `problem` is why there is none at all."""
    kind = ModelUnusable if of and all(version.hopeless for version in of.values()) else ModelNotReady
    return kind(f"model {name!r} has no READY version: {states(of) if of else problem}")


def states(of: Versions) -> str:
    """Every version with its state and reason, in words."""
    told = [
        f"{number} {of[number].state}" + (f" ({of[number].reason})" if of[number].reason else "")
        for number in sorted(of)
    ]
    return ", ".join(told) or "no version"
