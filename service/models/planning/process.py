"""The profiler as a process of its own, and how the server asks it.

Apart from the server a candidate may crash, hang or leave memory and threads behind and nobody notices; the process is
niced, so it gets what serving leaves, and it is killed when its time is over: the rows told until then count, and what
it did not come to has a row that says why. The question goes in on standard input, the rows come back on standard
output, one JSON a line. Called by `planner`.
"""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from service.errors import ModelUnusable
from service.models.planning.candidates import Setup
from service.models.planning.plan import BROKE, NO_TIME, Measured

_NICE: Final = 10
# Beyond its own time the process needs some to start, to import its engines and to end the setup in hand.
_GRACE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured: a version's folder, the setups, the device, and `profiling.profile`'s two limits."""

    bundle: str
    setups: tuple[Setup, ...]
    device: str
    target: float
    seconds: float


async def ask(question: Question) -> list[Measured]:
    """The rows that were told, and one for each setup that has none. Raises ModelUnusable where none was told."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-P", "-m", __name__)
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    rows: list[Measured] = []
    said, in_time = b"", True
    try:
        async with asyncio.timeout(question.seconds + _GRACE_SECONDS):
            _, _, said = await asyncio.gather(_tell(child, question), _rows(child, rows), _last_words(child))
            await child.wait()
    except TimeoutError:
        said, in_time = b"it did not end in time", False
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    reason = said.decode(errors="replace") or f"it ended with {child.returncode}"
    if not rows:
        raise ModelUnusable(f"the profiler measured nothing: {reason}")
    return [*rows, *_unmeasured(question.setups, rows, f"{BROKE}: {reason}" if in_time else NO_TIME)]


def _unmeasured(setups: Sequence[Setup], rows: Sequence[Measured], reason: str) -> Iterator[Measured]:
    told = {(row.plan.engine, row.plan.variant, row.plan.computed, row.plan.threads) for row in rows}
    for setup in setups:
        if (setup.engine, setup.variant, setup.computed, setup.threads) not in told:
            yield Measured(setup.plan(setup.instances[0], 0), refused=reason)


async def _tell(child: asyncio.subprocess.Process, question: Question) -> None:
    assert child.stdin is not None  # noqa: S101 - it is a pipe
    with suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write(msgspec.json.encode(question))
        await child.stdin.drain()
    child.stdin.close()


async def _rows(child: asyncio.subprocess.Process, rows: list[Measured]) -> None:
    assert child.stdout is not None  # noqa: S101 - it is a pipe
    async for line in child.stdout:
        with suppress(msgspec.DecodeError):  # what a library prints, or a line cut by a crash
            rows.append(msgspec.json.decode(line, type=Measured))


async def _last_words(child: asyncio.subprocess.Process) -> bytes:
    assert child.stderr is not None  # noqa: S101 - it is a pipe
    said = b""
    async for line in child.stderr:
        said = line.strip() or said
    return said


def _main() -> None:
    """Answers the question on standard input."""
    from bundle import store
    from service.models.planning.profiling import profile
    from service.runtimes.devices import Device

    _stand_back()
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    device = Device.parse(question.device)
    bundle = store.open_bundle(Path(question.bundle))
    for row in profile(bundle, question.setups, device, target=question.target, seconds=question.seconds):
        sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")
        sys.stdout.buffer.flush()


def _stand_back() -> None:
    """Serving goes first for the cores and, where memory runs out, lives."""
    with suppress(OSError, AttributeError):
        os.nice(_NICE)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    _main()
