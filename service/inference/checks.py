"""Holds a request to the model's signature and to the limits, before anything is decoded.

Every refusal is a RequestInvalid whose sentence names the input, what came, and what the model takes.
"""

from collections.abc import Mapping

import numpy as np

from bundle.manifest import TensorSpec
from service.errors import RequestInvalid
from service.inference.values import Images
from service.models.version import DEFAULT_TOP_K, Servable
from service.runtimes.base import Array


def by_name(inputs: Mapping[str, Images | Array], servable: Servable) -> Mapping[str, Images | Array]:
    """The inputs by signature name: an unnamed input is the model's only one. Raises RequestInvalid."""
    names = servable.input_names
    if len(inputs) == 1 == len(names) and "" in inputs:
        return {names[0]: inputs[""]}
    if inputs.keys() == set(names):
        return inputs
    named = {(names[0] if not name and len(names) == 1 else name): values for name, values in inputs.items()}
    if len(named) < len(inputs):
        raise RequestInvalid(f"input {names[0]!r} is given twice, once without its name; give it once")
    if set(named) != set(names):
        raise RequestInvalid(
            f"the call brings inputs {sorted(named)}, model {servable.bundle.name!r} takes {sorted(names)}"
            + ("; give each by its name" if len(names) > 1 else "")
        )
    return named


def check_input(spec: TensorSpec, values: Images | Array, servable: Servable) -> None:
    """A tensor must be as the signature says; pictures need an input that has preprocessing."""
    if not isinstance(values, np.ndarray):
        if all(spec.name != preprocessing.input for preprocessing in servable.bundle.manifest.preprocessing):
            raise RequestInvalid(
                f"input {spec.name!r} of model {servable.bundle.name!r} takes a {spec.dtype} tensor, not pictures"
            )
        return
    if values.shape[1:] == spec.shape[1:] and values.dtype == spec.dtype:
        return
    wanted = [size if size is not None else -1 for size in spec.shape]
    fits = values.ndim == len(wanted) and all(w in (-1, size) for w, size in zip(wanted, values.shape, strict=True))
    if values.dtype != np.dtype(spec.dtype) or not fits:
        raise RequestInvalid(
            f"input {spec.name!r} is {values.dtype} {list(values.shape)}, "
            f"model {servable.bundle.name!r} takes {spec.dtype} {wanted} (-1: any size)"
        )


def checked_top_k(asked: int | None, servable: Servable) -> int:
    """How many classes to return, of every head that has so many. Raises RequestInvalid."""
    if not servable.labels:
        raise RequestInvalid(f"model {servable.bundle.name!r} declares no head, so it has no classes to answer with")
    most = servable.most_classes
    if asked is None:
        return min(DEFAULT_TOP_K, most)
    if not 1 <= asked <= most:
        raise RequestInvalid(
            f"top_k is {asked}, model {servable.bundle.name!r} has {most} classes: ask for 1 to {most}"
        )
    return asked


def checked_count(inputs: Mapping[str, Images | Array], most: int) -> int:
    """The number of pictures, the same in every input. Raises RequestInvalid."""
    count = len(next(iter(inputs.values())))
    if len(inputs) > 1 and any(len(values) != count for values in inputs.values()):
        counts = {name: len(values) for name, values in inputs.items()}
        raise RequestInvalid(f"the inputs differ in number of pictures: {counts}")
    if not 1 <= count <= most:
        raise RequestInvalid(f"the call brings {count} pictures, a call takes 1 to {most}; split it into several calls")
    return count
