"""The loader's threads: quiet where the system can say so, nothing of it inherited, and left behind when they hang."""

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest
from bundles import make_bundle
from servers import until
from watched import Watched

from service.errors import ModelUnusable
from service.models import golden
from service.models.quiet import NICENESS, Threads

LOWEST = 19  # niceness ends there, and these tests may run niced themselves

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")


def niceness(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def own_niceness() -> int:
    return niceness(threading.get_native_id())


def below(own: int) -> int:
    """The quiet thread's niceness in a process of this niceness."""
    return min(own + NICENESS, LOWEST)


def loading() -> list[threading.Thread]:
    """The threads in which something is loaded."""
    return [each for each in threading.enumerate() if each.name == "convoy-load"]


def threads() -> set[int]:
    """The threads of this process, by their number."""
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


@linux
async def test_quiet_work_runs_below_the_others_and_other_work_does_not():
    work = Threads(seconds=60)
    assert await work.run("asking", own_niceness, quietly=True) == below(niceness(0))
    assert await work.run("asking", own_niceness) == own_niceness() == niceness(0)


async def test_threads_that_come_back_are_used_again_and_end_when_they_are_joined():
    work, before = Threads(seconds=60), loading()
    for _ in range(5):
        await work.run("asking", own_niceness, quietly=True)
        await work.run("asking", own_niceness)
        await until(lambda: not work._busy)
    assert len(loading()) == len(before) + 2
    await asyncio.to_thread(work.join)
    assert loading() == before


async def test_what_work_raises_is_raised():
    def fail() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await Threads(seconds=60).run("failing", fail)


class Hanging:
    """Work that hangs until the test lets it go, and what was dropped."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.dropped: list[str] = []

    def __call__(self) -> str:
        self.may.wait()
        return "late"


async def test_work_that_hangs_is_given_up_and_what_it_still_gives_is_dropped():
    work, hanging = Threads(seconds=0.05), Hanging()
    with pytest.raises(ModelUnusable, match=r"^opening it took over 0\.05 s \(--load-timeout\) and was given up"):
        await work.run("opening it", hanging, drop=hanging.dropped.append)
    assert await work.run("something else", lambda: 1) == 1
    hanging.may.set()
    await until(lambda: hanging.dropped == ["late"])


async def test_what_a_caller_who_left_would_have_got_is_dropped():
    work, hanging = Threads(seconds=60), Hanging()
    waiting = asyncio.create_task(work.run("opening it", hanging, drop=hanging.dropped.append))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    hanging.may.set()
    await until(lambda: hanging.dropped == ["late"])


async def test_nobody_waits_longer_for_what_hangs_than_its_time(caplog):
    work, hanging = Threads(seconds=0.05), Hanging()
    with pytest.raises(ModelUnusable):
        await work.run("opening it", hanging)
    work.join()
    assert "a load does not come back" in caplog.text
    hanging.may.set()


@linux
async def test_a_version_is_proved_there_and_its_runtime_s_threads_are_not_of_that_kind(tmp_path, monkeypatch):
    """ONNX Runtime's threads are born with their session; what they inherit they keep for ever."""
    make_bundle(tmp_path)
    own, before = niceness(0), threads()
    proved: list[int] = []
    prove = golden.prove

    def noted(*arguments: object, **others: object) -> None:
        proved.append(own_niceness())
        prove(*arguments, **others)

    monkeypatch.setattr(golden, "prove", noted)
    watched = Watched(tmp_path, threads=4)
    await watched.follow()
    assert proved == [below(own)]
    born = threads() - before - {each.native_id for each in loading()}
    assert len(born) >= 3 + 1, "the session's threads and the instance's"
    assert all(niceness(each) == own for each in born)
    await watched.registry.close()
