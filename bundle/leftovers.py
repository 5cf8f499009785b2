"""Staging folders whose builder is gone, and how that is known: every builder holds a file lock beside its folder.

`.staging-NAME-HEX.lock` lies beside the folder `.staging-NAME-HEX` and is locked while somebody builds in it. The
system lets go of the lock when the process ends, however it ends, so a lock that can be had is that of a builder that
was killed. A mount may keep locks for each host apart, so the mark names its builder's host, and what a builder on
another host has left stays. Where locks don't work none can be had, and nothing is ever removed. Called by
`bundle.publishing`.
"""

import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".staging-"
_LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Marks a staging folder as being built in, from before it is made until it is gone. Raises OSError."""
    mark = folder.with_name(folder.name + _LOCK)
    with mark.open("w") as file:
        try:
            # Somebody who clears up may have removed the file by now: then nobody can take the folder for a leftover.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            file.write(socket.gethostname())
            file.flush()
            yield
        finally:
            mark.unlink(missing_ok=True)


def clear(repository: Path) -> None:
    """Removes what killed builders have left in a repository. What may not be removed stays, without an error."""
    with suppress(OSError):
        for mark in list(repository.glob(f"{PREFIX}*{_LOCK}")):
            with suppress(OSError):  # a lock that somebody holds, or no permission
                _clear(mark)


def _clear(mark: Path) -> None:
    with mark.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if file.read() != socket.gethostname():
            return
        shutil.rmtree(mark.with_name(mark.name.removesuffix(_LOCK)), ignore_errors=True)
        mark.unlink()
