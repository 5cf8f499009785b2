import subprocess
import sys

import pytest

# Root passes every permission; a program started without two of its capabilities is held by them as any user is. The
# numbers are PR_CAPBSET_DROP of linux/prctl.h, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of linux/capability.h. This
# runs in a process on its way to be another program and not in `preexec_fn`, which would fork: gRPC's threads are not
# there in a fork, and what its handlers do to the shared epoll sets there broke servers of later tests.
_OBEYING_PERMISSIONS = """
import ctypes, os, sys
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""

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


@pytest.fixture
def elsewhere(tmp_path):
    """Runs code in a process of its own, in the test's folder and held by permissions; gives the lines it printed.

    The code may use all of `bundle.store` and `samples`. A BundleError is printed.
    """

    def run(code: str, *, exit_status: int = 0) -> list[str]:
        indented = "    " + code.replace("\n", "\n    ")
        program = f"import sys; sys.path[:0] = {sys.path!r}" + _PROGRAM.format(code=indented)
        command = [sys.executable, "-c", _OBEYING_PERMISSIONS, sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == exit_status, done.stderr
        return done.stdout.splitlines()

    return run
