"""What a caller may hand in as a picture, looked at before anything is sent, and its grouping into calls.

A path, and bytes, are an encoded file (JPEG, PNG, ...) that the server decodes. Anything else with a buffer and a
shape, such as a NumPy array, is pixels as the model's signature says; NumPy itself is never imported. A file is opened
at once, so that a missing one is found before anything is sent, and read only when its call is made, so that a long
list of paths takes the memory of the calls in flight. Used by both clients and `service.client.messages`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from service.client.errors import ImageRejected

if TYPE_CHECKING:
    from typing_extensions import Buffer

# A path, the bytes of an encoded file, or an array [height, width, channels] (also [1, height, width, channels]).
Image: TypeAlias = "str | os.PathLike[str] | Buffer"
# One picture, or for a model with several inputs one for each, by its name.
Example: TypeAlias = "Image | Mapping[str, Image]"

IMAGES_PER_CALL = 32
BYTES_PER_CALL = 4 << 20  # gRPC's own default limit for a message; a larger picture travels alone
CALLS_IN_FLIGHT = 4

_KINDS = {
    "?": "bool",
    **dict.fromkeys("bhilq", "int"),
    **dict.fromkeys("BHILQ", "uint"),
    **dict.fromkeys("efd", "float"),
}
_ENCODED = "B"
_BATCHED = 4  # dimensions of an array that has the batch dimension


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture before it is read: `size` is its bytes in a message, `pixels` the dtype and shape of an array.

    `refusal` is set where the picture can't travel at all.
    """

    name: str
    size: int
    source: str | memoryview
    pixels: tuple[str, tuple[int, ...]] | None = None
    refusal: ImageRejected | None = None

    @property
    def on_disk(self) -> bool:
        """Whether `read` waits for a disk."""
        return isinstance(self.source, str)

    def read(self) -> bytes:
        """The encoded file, or the pixels in row-major order. Raises OSError if the file can't be read any more."""
        return Path(self.source).read_bytes() if isinstance(self.source, str) else self.source.tobytes()


def look(image: Image, name: str, largest: int) -> Picture:
    """What `image` is, called `name` in errors unless it is a file; over `largest` bytes it is refused.

    Raises OSError (a missing or unreadable file), TypeError (not a picture) or ValueError (an array that can't be one).
    """
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        return Picture(path, size := _size(path), path, refusal=_refusal(path, size, largest))
    try:
        view = memoryview(image)
    except (TypeError, ValueError, BufferError) as error:
        raise TypeError(
            f"{name} is a {type(image).__name__}; a picture is a path, an image file's bytes or an array of pixels"
        ) from error
    pixels = None if view.ndim == 1 and view.format == _ENCODED else _pixels(view, name)
    return Picture(name, view.nbytes, view, pixels, _refusal(name, view.nbytes, largest))


def by_input(image: Example, largest: int) -> dict[str, Picture]:
    """Looks at what is one example: a picture for the model's only input, whose name is left empty, or one for each.

    Raises ImageRejected for a picture over `largest` bytes, and what `look` raises.
    """
    images = image if isinstance(image, Mapping) else {"": image}
    found = {name: look(one, name or "image", largest) for name, one in images.items()}
    for picture in found.values():
        if picture.refusal:
            raise picture.refusal
    return found


def together(found: Mapping[str, Picture]) -> str:
    """What errors call the example that these pictures are."""
    return " and ".join(picture.name for picture in found.values())


def planned(images: Iterable[Image], largest: int, images_per_call: int) -> Iterator[list[Picture]]:
    """Looks at all pictures now and cuts them, in order, into groups that can share a call.

    A group is of one kind, all encoded or all arrays of one dtype and shape, and holds at most `images_per_call`
    pictures and BYTES_PER_CALL; a larger picture, and so a refused one, is alone. Pictures that are not files are
    called "image 0", "image 1" and so on. Raises what `look` raises.
    """
    if isinstance(images, str | bytes | bytearray | os.PathLike):
        raise TypeError(f"classify_many takes a list of pictures and got one {type(images).__name__}; use classify")
    pictures = [look(image, f"image {position}", largest) for position, image in enumerate(images)]
    return _grouped(pictures, at_least_one("images_per_call", images_per_call), min(BYTES_PER_CALL, largest))


def at_least_one(name: str, value: int) -> int:
    """The value of the argument `name`. Raises ValueError below 1."""
    if value < 1:
        raise ValueError(f"{name} is {value}, it must be at least 1")
    return value


def _grouped(pictures: list[Picture], images_per_call: int, bytes_per_call: int) -> Iterator[list[Picture]]:
    group: list[Picture] = []
    total = 0
    for picture in pictures:
        full = len(group) == images_per_call or total + picture.size > bytes_per_call
        if group and (full or picture.pixels != group[0].pixels):
            yield group
            group, total = [], 0
        group.append(picture)
        total += picture.size
    if group:
        yield group


def _size(path: str) -> int:
    with open(path, "rb") as file:  # noqa: PTH123 - raises for a folder too, with the path as it was given
        return os.fstat(file.fileno()).st_size


def _refusal(name: str, size: int, largest: int) -> ImageRejected | None:
    if size <= largest:
        return None
    problem = f"{size:,} bytes, over the {largest:,} that one message may carry; send a smaller picture"
    return ImageRejected(name, problem, "INVALID_ARGUMENT")


def _pixels(view: memoryview, name: str) -> tuple[str, tuple[int, ...]]:
    shape = view.shape or ()
    if len(shape) == _BATCHED and shape[0] == 1:
        shape = shape[1:]
    if not 0 < len(shape) < _BATCHED:
        raise ValueError(
            f"{name} is an array of shape {list(view.shape or ())}; one picture is [height, width, channels], "
            "and classify_many takes several"
        )
    return _dtype(view, name), shape


def _dtype(view: memoryview, name: str) -> str:
    """The signature's word for the elements, from the buffer protocol's letter and item size."""
    kind = _KINDS.get(view.format.lstrip("@=<"))
    if kind is None:
        raise ValueError(
            f"{name} has elements of format {view.format!r}; send little-endian booleans, integers or floats, "
            "for example array.astype('uint8')"
        )
    return kind if kind == "bool" else f"{kind}{view.itemsize * 8}"
