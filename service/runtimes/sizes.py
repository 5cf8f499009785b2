"""The sizes of batch for which an engine that prepares itself for each size does so; others are padded to the next one.

Powers of two and their halves between: at most a third of a batch is padding, and there are ten sizes up to 32. Asked
by `openvino`, and by the golden gate, which runs each of them.
"""


def size_for(count: int) -> int:
    """The smallest size that holds so many rows."""
    power = 1 << (count - 1).bit_length()
    between = power * 3 // 4
    return between if power > 2 and count <= between else power  # noqa: PLR2004 - two's half between is no whole number


def sizes_up_to(most: int) -> list[int]:
    """Every size that batches of up to so many rows can have."""
    return sorted({size_for(count) for count in range(1, most + 1)})
