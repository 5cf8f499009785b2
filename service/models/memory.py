"""Gives memory that was freed back to the system.

glibc keeps what is freed in its arenas for later: after a version is unloaded the process would go on holding weights
and buffers that nobody uses, and a container's limit counts what it holds. Where the C library is another one (musl,
macOS) this does nothing. Called in a thread, by the registry after each unload and by the loader after a change of
plan.
"""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Returns free pages to the system; takes the allocator's locks one arena after the other."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    found: Callable[[int], int] = trim
    return found
