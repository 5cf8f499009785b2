"""The pictures of one call, decoded in parts by a pool of threads (Pillow gives the GIL back), and what that costs.

Work is the one unit of cost: the pixels that a picture declares and its encoded bytes, added, because a few bytes may
be a huge picture. A picture that can't be used gets an error of its own and leaves the others alone. Called by the
data plane and the decoders.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bundle.errors import ImageError
from bundle.headers import declared_pixels
from bundle.manifest import Preprocessing
from bundle.preprocessing import Limits, decode
from service.inference.room import Room
from service.inference.values import Images
from service.runtimes.base import Array


@dataclass(slots=True, eq=False)
class Pictures:
    """The inputs of a call that brings pictures, how each is decoded, and the work of each number's pictures."""

    inputs: Mapping[str, Images | Array]
    specs: Mapping[str, Preprocessing]
    work: Sequence[int]
    parts: Sequence[range]
    """The numbers that are decoded together."""


NO_PICTURES = Pictures({}, {}, (), ())


@dataclass(slots=True)
class Part:
    """Pictures of a call that travel together: the usable ones' numbers and rows, the others' errors, and the
    seconds that decoding took, with the wait for a thread.
    """

    numbers: list[int] = field(default_factory=list)
    rows: dict[str, Array] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    work: int = 0
    """That was done; less than the part's where nobody waited for it any more."""


# Work of a part, at most, where it has more than one picture: others whose turn it is wait for as long as it takes.
_PART_WORK = 4 << 20


def split(work: Sequence[int], threads: int, most: int) -> list[range]:
    """Ranges of pictures that keep every decoding thread busy without a task for each; `work` is that of each."""
    size = max(1, min(most, math.ceil(len(work) / (2 * threads))))
    parts: list[range] = []
    start, total = 0, 0
    for number, each in enumerate(work):
        if number > start and (number - start == size or total + each > _PART_WORK):
            parts.append(range(start, number))
            start, total = number, 0
        total += each
    if work:
        parts.append(range(start, len(work)))
    return parts


def work_of(data: bytes, limits: Limits) -> int:
    """What decoding one picture costs. One over the limit costs no pixels, it is refused unread."""
    pixels = declared_pixels(data)
    if pixels is None:
        pixels = limits.max_pixels
    return len(data) + (pixels if pixels <= limits.max_pixels else 0)


def work_of_each(inputs: Mapping[str, Images | Array], count: int, limits: Limits) -> list[int]:
    """The work of each of `count` numbers: their pictures of every input that has pictures."""
    pictures = [values for values in inputs.values() if not isinstance(values, np.ndarray)]
    if len(pictures) == 1:
        return [work_of(data, limits) for data in pictures[0]]
    return [sum(work_of(values[number], limits) for values in pictures) for number in range(count)]


def decode_part(
    pictures: Pictures, numbers: range, limits: Limits, room: Room, wanted: Callable[[], bool] = lambda: True
) -> Part:
    """Decodes these pictures of every input; what is a tensor already is taken as it is.

    `wanted` is asked before each, and again when there is room for it: where it says no, the rest is left out.
    """
    part = Part()
    decoded: dict[str, list[Array]] = {name: [] for name in pictures.inputs}
    for number in numbers:
        if not wanted():  # who left keeps nobody waiting behind it for room
            break
        taken = room.take(pictures.work[number])
        try:
            if not wanted():
                break
            row = _row(pictures, number, limits, part.errors)
        finally:
            room.give_back(taken)
        part.work += pictures.work[number]
        if row is None:
            continue
        part.numbers.append(number)
        for name, array in row.items():
            decoded[name].append(array)
    if part.numbers:
        part.rows = {name: _stacked(arrays) for name, arrays in decoded.items()}
    return part


def _row(pictures: Pictures, number: int, limits: Limits, errors: dict[int, str]) -> dict[str, Array] | None:
    """One picture of every input; None where one can't be used, and why in `errors`."""
    inputs, specs = pictures.inputs, pictures.specs
    row: dict[str, Array] = {}
    try:
        for name, values in inputs.items():
            row[name] = (
                values[number] if isinstance(values, np.ndarray) else decode(values[number], specs[name], limits)
            )
    except ImageError as error:
        errors[number] = f"input {name!r}: {error}" if len(inputs) > 1 else str(error)
        return None
    return row


def _stacked(arrays: list[Array]) -> Array:
    """One row after the other; a lone one, as most calls bring, as it is."""
    return arrays[0][np.newaxis] if len(arrays) == 1 else np.stack(arrays)
