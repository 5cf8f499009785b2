"""Holds a graph's inputs and outputs against the manifest's signature, the same way for every engine.

Called by each runtime while it opens, so that a graph which does not fit its manifest is refused in one sentence
instead of failing on the first request.
"""

from collections.abc import Iterable

from bundle.manifest import Signature, TensorSpec
from service.errors import ModelUnusable

Shape = tuple[int | None, ...]


def check_signature(declared: Signature, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> None:
    """Raises ModelUnusable where the graph can't take or give what the manifest declares.

    The graph must have exactly the declared inputs and at least the declared outputs. A size that the graph leaves open
    accepts any declared size; a size that the graph fixes must be declared as that number. An output without a known
    shape (an empty tuple) is not compared.
    """
    takes, gives = _by_name(inputs), _by_name(outputs)
    surplus = takes.keys() - {spec.name for spec in declared.inputs}
    if surplus:
        raise ModelUnusable(f"the graph wants input {min(surplus)!r}, which the manifest's signature does not declare")
    for spec in declared.inputs:
        _check_tensor("input", spec, takes)
    for spec in declared.outputs:
        _check_tensor("output", spec, gives)


def check_explanations(declared: Signature, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> None:
    """The same for the graph that takes the signature's inputs and gives its explanations."""
    check_signature(Signature(inputs=declared.inputs, outputs=declared.explanations), inputs, outputs)


def _by_name(specs: Iterable[TensorSpec]) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in specs}


def _check_tensor(role: str, declared: TensorSpec, graph: dict[str, TensorSpec]) -> None:
    found = graph.get(declared.name)
    if found is None:
        names = ", ".join(map(repr, sorted(graph))) or "none"
        raise ModelUnusable(f"the manifest declares {role} {declared.name!r}, the graph has {names}")
    if found.dtype != declared.dtype or not _fits(declared.shape, found.shape, role):
        raise ModelUnusable(
            f"the manifest declares {role} {declared.name!r} as {_text(declared)}, the graph has {_text(found)}"
        )


def _fits(declared: Shape, found: Shape, role: str) -> bool:
    if role == "output" and not found:
        return True
    return len(declared) == len(found) and all(
        size is None or size == wanted for wanted, size in zip(declared, found, strict=True)
    )


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype} [{', '.join('any' if size is None else str(size) for size in spec.shape)}]"
