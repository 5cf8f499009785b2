"""The files of an ONNX variant, opened: the one that answers and, where the variant explains itself, the one for that.

They are two because a runtime computes all of a graph's outputs, whichever are asked for. The invariant: whatever an
engine throws leaves here as a RuntimeFailed that names the variant. Held by `onnx` and `openvino`.
"""

from collections.abc import Callable

from service.errors import RuntimeFailed
from service.runtimes.base import Array, Arrays

Model = Callable[[Arrays], dict[str, Array]]
"""Runs one batch: outputs by name."""


class Models:
    """Both models of one variant. Called from one thread at a time."""

    def __init__(self, engine: str, variant: str, answering: Model, explaining: Model | None) -> None:
        self._engine = engine
        self._variant = variant
        self._answering: Model | None = answering
        self._explaining = explaining

    def run(self, inputs: Arrays, *, explain: bool) -> dict[str, Array]:
        """Runs one batch, with `explain` on both. Raises RuntimeFailed with the engine's own words."""
        outputs = self._run(self._answering, inputs)
        if explain:
            outputs |= self._run(self._explaining, inputs)
        return outputs

    def close(self) -> None:
        """Gives the models' memory back."""
        self._answering = self._explaining = None

    def _run(self, model: Model | None, inputs: Arrays) -> dict[str, Array]:
        if model is None:
            raise RuntimeFailed(f"variant {self._variant!r} is closed")
        try:
            return model(inputs)
        except Exception as error:
            raise RuntimeFailed(f"{self._engine} failed on variant {self._variant!r}: {error}") from error
