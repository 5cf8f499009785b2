"""How much may be decoded at once, over all decoding threads.

A picture of fifty megapixels takes 800 MB while it is decoded, however few bytes it has, so threads alone do not bound
memory. Each picture takes room for its work (`service.inference.decoding`) and gives it back; one that is larger than
the room has it for itself. The invariant: whoever has room never waits for more, so somebody always ends. Called in
the decoding threads of the service and of batch jobs.
"""

import threading
from typing import Final

from PIL import Image

from bundle.preprocessing import PEAK_BYTES_A_PIXEL
from service.runtimes.usable import usable_memory

# Of the memory there is: the rest is for models, requests and what is decoded.
_SHARE: Final = 2
# Work that takes no room: a megabyte a thread, and most pictures never touch a lock.
_SMALL: Final = 1 << 16
# Pillow allocates a picture in blocks, of 16 MiB unless told otherwise; glibc keeps freed ones under 32 MiB for their
# thread. So three pictures of 50 megapixels, one after the other in three threads, took 1,571 MiB and not 863.
_BLOCK_BYTES: Final = 64 << 20


class Room:
    """Room for `work` at once, in pixels and encoded bytes; as much as half of the memory can hold, by default."""

    def __init__(self, work: int | None = None, *, processes: int = 1) -> None:
        """`processes` share the memory. From now on all that this process decodes gives its memory back at once."""
        Image.core.set_block_size(_BLOCK_BYTES)  # type: ignore[attr-defined]  # as Pillow does for PILLOW_BLOCK_SIZE
        self._all = usable_memory() // (_SHARE * PEAK_BYTES_A_PIXEL * processes) if work is None else work
        self._free = self._all
        self._next = threading.Lock()  # held by the one who waits: who comes later can't overtake a large picture
        self._changed = threading.Condition()

    def take(self, work: int) -> int:
        """Waits for room; gives what is to be given back."""
        if work < _SMALL:
            return 0
        work = min(work, self._all)
        with self._next, self._changed:
            while self._free < work:
                self._changed.wait()
            self._free -= work
        return work

    def give_back(self, taken: int) -> None:
        """Lets those in who wait for it."""
        if taken:
            with self._changed:
                self._free += taken
                self._changed.notify()
