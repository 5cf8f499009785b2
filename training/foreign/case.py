"""One model about which is decided: what its file says, what the user says, and what has come out so far.

A decision gives its value and tells its reason; or it gives None and leaves a question; or it refuses. Questions are
collected, so that the user is asked once. Passed through `taking` and `answering` by `deciding`.
"""

from dataclasses import dataclass, field

from bundle.manifest import TensorSpec
from training.errors import ChoiceContradicted
from training.foreign.original import Original
from training.foreign.wishes import Wishes


@dataclass(frozen=True, slots=True)
class Case:
    """`questions` go on a sentence that begins with "FILE does not say"; `reasons` are sentences for the summary."""

    original: Original
    wishes: Wishes
    questions: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def refusal(self, problem: str, option: str = "") -> ChoiceContradicted:
        """The error that says what the file is and, with an option's name, that this option contradicts it."""
        remedy = f"; leave out {option} or correct it" if option else ""
        return ChoiceContradicted(f"{self.original.path}: {problem}{remedy}")


def text(spec: TensorSpec) -> str:
    """A tensor as people read it."""
    sizes = ", ".join("any" if size is None else str(size) for size in spec.shape)
    return f"{spec.name} {spec.dtype} [{sizes}]"
