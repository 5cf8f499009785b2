"""The pictures of one call, decoded in parts by a pool of threads (Pillow gives the GIL back).

A picture that can't be used gets an error of its own and leaves the others alone. Called by the data plane.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bundle.errors import ImageError
from bundle.manifest import Preprocessing
from bundle.preprocessing import Limits, decode
from service.inference.values import Images
from service.runtimes.base import Array


@dataclass(slots=True)
class Part:
    """Pictures of a call that travel together: the usable ones' numbers and rows, the others' errors, and the
    seconds that decoding took, with the wait for a thread.
    """

    numbers: list[int] = field(default_factory=list)
    rows: dict[str, Array] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


# Encoded bytes of a part, about: others whose turn it is wait for as long as it takes.
_PART_BYTES = 1 << 20


def split(count: int, total_bytes: int, threads: int, most: int) -> list[range]:
    """Ranges that keep every decoding thread busy without a task for each picture, of `total_bytes` in all."""
    most = min(most, _PART_BYTES * count // max(1, total_bytes))
    size = max(1, min(most, math.ceil(count / (2 * threads))))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def encoded_bytes(inputs: Mapping[str, Images | Array], numbers: range) -> int:
    """The bytes of these pictures of every input that has pictures."""
    pictures = [values for values in inputs.values() if not isinstance(values, np.ndarray)]
    return sum(len(values[number]) for values in pictures for number in numbers)


def decode_part(
    inputs: Mapping[str, Images | Array], specs: Mapping[str, Preprocessing], numbers: range, limits: Limits
) -> Part:
    """Decodes these pictures of every input; what is a tensor already is taken as it is."""
    part = Part()
    decoded: dict[str, list[Array]] = {name: [] for name in inputs}
    for number in numbers:
        row: dict[str, Array] = {}
        try:
            for name, values in inputs.items():
                row[name] = (
                    values[number] if isinstance(values, np.ndarray) else decode(values[number], specs[name], limits)
                )
        except ImageError as error:
            part.errors[number] = f"input {name!r}: {error}" if len(inputs) > 1 else str(error)
            continue
        part.numbers.append(number)
        for name, array in row.items():
            decoded[name].append(array)
    if part.numbers:
        part.rows = {name: _stacked(arrays) for name, arrays in decoded.items()}
    return part


def _stacked(arrays: list[Array]) -> Array:
    """One row after the other; a lone one, as most calls bring, as it is."""
    return arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)
