"""One thread for the work of loading that must not disturb those who are served meanwhile.

It runs below everything else of the process where the system can say so of a thread (Linux), and one piece of work at a
time. The invariant: nothing that starts threads of its own runs here, because they would inherit the priority for ever
and an ordinary user may not raise it again: runtimes are opened elsewhere. Made by `service.models.loader`.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

NICENESS: Final = 10


def quiet_executor() -> ThreadPoolExecutor:
    """An executor of one thread, `NICENESS` below the process's own priority."""
    return ThreadPoolExecutor(1, thread_name_prefix="convoy-load", initializer=_lower_priority)


def _lower_priority() -> None:
    """Elsewhere than on Linux a thread's number means a process, or nothing: there the priority stays as it is."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it; loading then only disturbs more
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
