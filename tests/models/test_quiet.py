"""The loader's own thread: below all others where the system can say so, and nothing of it is inherited."""

import os
import sys
import threading
from pathlib import Path

import pytest
from bundles import make_bundle
from watched import Watched

from service.models import golden
from service.models.quiet import NICENESS, quiet_executor

LOWEST = 19  # niceness ends there, and these tests may run niced themselves

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")


def niceness(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def below(own: int) -> int:
    """The quiet thread's niceness in a process of this niceness."""
    return min(own + NICENESS, LOWEST)


def threads() -> set[int]:
    """The threads of this process, by their number."""
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


@linux
def test_it_runs_below_the_others():
    with quiet_executor() as executor:
        assert executor.submit(lambda: niceness(threading.get_native_id())).result() == below(niceness(0))
    assert niceness(threading.get_native_id()) == niceness(0)


@linux
async def test_a_version_is_proved_there_and_its_runtime_s_threads_are_not_of_that_kind(tmp_path, monkeypatch):
    """ONNX Runtime's threads are born with their session; what they inherit they keep for ever."""
    make_bundle(tmp_path)
    own, before = niceness(0), threads()
    proved: list[int] = []
    prove = golden.prove

    def noted(*arguments: object, **others: object) -> None:
        proved.append(niceness(threading.get_native_id()))
        prove(*arguments, **others)

    monkeypatch.setattr(golden, "prove", noted)
    watched = Watched(tmp_path, threads=4)
    await watched.follow()
    assert proved == [below(own)]
    born = threads() - before
    assert len(born) >= 3 + 2, "the session's threads, the loader's and the instance's"
    assert sum(niceness(each) != own for each in born) == 1
    await watched.registry.close()
