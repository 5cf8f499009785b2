import ctypes
import subprocess
import sys

import pytest

_DROP_FROM_BOUNDING_SET = 24  # linux/prctl.h and linux/capability.h
_READ_AND_WRITE_ANYTHING, _READ_ANYTHING = 1, 2

_PROGRAM = """
from pathlib import Path
from bundle.errors import BundleError
from bundle.publishing import *
from bundle.store import *
from samples import *
try:
{code}
except BundleError as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""


def _obey_permissions():
    """Root passes every permission; without two of its capabilities it is held by them as any user is."""
    libc = ctypes.CDLL(None)
    libc.prctl(_DROP_FROM_BOUNDING_SET, _READ_AND_WRITE_ANYTHING, 0, 0, 0)
    libc.prctl(_DROP_FROM_BOUNDING_SET, _READ_ANYTHING, 0, 0, 0)


@pytest.fixture
def elsewhere(tmp_path):
    """Runs code in a process of its own, in the test's folder and held by permissions; gives the lines it printed.

    The code may use all of `bundle.store` and `samples`. A BundleError is printed.
    """

    def run(code: str, *, exit_status: int = 0) -> list[str]:
        indented = "    " + code.replace("\n", "\n    ")
        command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}" + _PROGRAM.format(code=indented)]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=_obey_permissions
        )
        assert done.returncode == exit_status, done.stderr
        return done.stdout.splitlines()

    return run
