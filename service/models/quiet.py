"""Threads for looking at files and loading, which may hang for ever and must not disturb who is served meanwhile.

Work runs in daemon threads: one that does not come back can't be killed, so it is left behind after its time, and holds
up neither other loads nor the process's end. Those that do come back are used again, because the system's allocator
gives every new thread another part of its memory, and swap by swap little of it could be given back. Quiet work runs
below everything else of the process where the system can say so of a thread (Linux). The invariant: nothing that starts
threads of its own runs quietly, because they would inherit the priority for ever and an ordinary user may not raise it
again: runtimes are opened as usual. What the server keeps in its state folder does not run here: a hang there holds up
the process's end. Owned by `service.models.loader`; belongs to the event loop.
"""

import asyncio
import logging
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from service.batching.instance import tell
from service.errors import ModelUnusable

log = logging.getLogger(__name__)

NICENESS: Final = 10
# A server that stops waits so long for work in hand: a thread inside a library at the process's end may crash it.
LAST_SECONDS: Final = 5.0

T = TypeVar("T")


class Threads:
    """Runs work in threads, each piece for `seconds` at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._idle: dict[bool, deque[_Thread]] = {True: deque(), False: deque()}
        self._busy: set[_Thread] = set()

    async def run(
        self,
        what: str,
        work: Callable[[], T],
        *,
        quietly: bool = False,
        drop: Callable[[T], object] | None = None,
    ) -> T:
        """What `work` gives or raises; `what` begins "... took over". Raises ModelUnusable after its time.

        Where nobody waits any more, since its time was over or its caller cancelled, `drop` gets what it still gives.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        idle = self._idle[quietly]
        thread = idle.pop() if idle else _Thread(self._done, quiet=quietly)
        self._busy.add(thread)
        thread.inbox.put(partial(_run, future, work, drop))
        try:
            async with asyncio.timeout(self._seconds) as limit:
                return await future
        except BaseException as error:
            if drop and future.done() and not future.cancelled() and not future.exception():
                drop(future.result())  # cancelled in the moment of its end
            if isinstance(error, TimeoutError) and limit.expired():
                raise ModelUnusable(
                    f"{what} took over {self._seconds:g} s (--load-timeout) and was given up; it may hang"
                ) from error
            raise

    def join(self) -> None:
        """Ends the threads: waits for the work in hand, for `LAST_SECONDS` or its own time at most, and says what does
        not end.
        """
        latest = time.monotonic() + min(LAST_SECONDS, self._seconds)
        threads = [*self._busy, *self._idle[True], *self._idle[False]]
        for thread in threads:
            thread.inbox.put(None)
        for thread in threads:
            thread.join(max(0.0, latest - time.monotonic()))
            if thread.is_alive():
                log.error("a load does not come back, its thread is left behind")

    async def end(self) -> None:
        """As `join`, in a thread of its own: whatever hangs in asyncio's executor can't keep this from its turn."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        threading.Thread(target=_run, args=(ended, self.join, None), daemon=True).start()
        await ended

    def _done(self, thread: "_Thread") -> None:
        """In the thread, when it has come back."""
        self._busy.discard(thread)
        self._idle[thread.quiet].append(thread)


class _Thread(threading.Thread):
    """Runs what comes into its inbox, until None does; tells `done` after each."""

    def __init__(self, done: "Callable[[_Thread], None]", *, quiet: bool) -> None:
        super().__init__(name="convoy-load", daemon=True)
        self.quiet = quiet
        self.inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._done = done
        self.start()

    def run(self) -> None:
        if self.quiet:
            _lower_priority()
        while self._next():  # in a frame of its own, so that an idle thread keeps nothing of a model
            self._done(self)

    def _next(self) -> bool:
        work = self.inbox.get()
        if work is None:
            return False
        work()
        return True


def _run(future: asyncio.Future[T], work: Callable[[], T], drop: Callable[[T], object] | None) -> None:
    """In a thread: does the work and tells the loop, if it is still there."""
    try:
        result = work()
    except BaseException as error:
        tell(future.get_loop(), _fail, future, error)
    else:
        if not tell(future.get_loop(), _give, future, result, drop) and drop:
            drop(result)


def _give(future: asyncio.Future[T], result: T, drop: Callable[[T], object] | None) -> None:
    if not future.done():
        future.set_result(result)
    elif drop:
        drop(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _lower_priority() -> None:
    """Elsewhere than on Linux a thread's number means a process, or nothing: there the priority stays as it is."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it; loading then only disturbs more
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
