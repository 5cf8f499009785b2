"""Publishing without the seconds that are long by nature, for tests that look at something else; and the real command.

`test_parity`, the session's `published` and two foreign models have their proof in real processes of their own.
"""

import subprocess
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from training import replay


@dataclass(frozen=True)
class Ended:
    """What `training.parity` wants of a process."""

    returncode: int
    output: str

    def communicate(self, timeout=None):  # noqa: ARG002 - it has ended
        return self.output, None

    def kill(self):
        pass


def start(name, folder, request, reply):
    """Replays the same file by the same code, but in this process, which has imported TensorFlow already."""
    try:
        replay.main(name, str(folder), str(request), str(reply))
    except Exception:
        return Ended(1, traceback.format_exc())
    return Ended(0, "")


@contextmanager
def proved_here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.parity._start", start)
        yield


@contextmanager
def drawn_briefly():
    """A few runs for each speed and a few steps for each maximised picture, which have tests of their own."""
    from training import speed
    from training.visualize.maximise import maximise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "measure", partial(speed.measure, seconds=0))
        patch.setattr("training.report.insides.maximise", partial(maximise, steps=2))
        yield


def in_its_process(*arguments):
    """What the real `convoy` command says, which must be nothing on standard error."""
    command = [Path(sys.executable).with_name("convoy"), *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout
