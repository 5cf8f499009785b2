"""Holds back what TensorFlow says about the machine while it starts, and passes on its errors at the end.

TensorFlow writes that straight to the process's standard error before its log level is read. Here because training and
service both start TensorFlow and this is the package under both. The stream is the whole process's, so it is held back
only where no other thread works: in commands, never in a server. Whatever Python raises, what was held comes through;
where the process is killed or C++ aborts it meanwhile, that is lost, the abort's reason too. Called by
`training.startup`, `training.fitting.devices` and `convoy verify`.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Information and warnings; and that there is no CUDA driver (error 303), which on a machine without a GPU is no error.
_CHATTER = re.compile(r"[IW]\d{4} |WARNING: All log messages before absl|E\d{4} .*failed call to cuInit.*\(303\)")


@contextmanager
def held_back_stderr() -> Iterator[None]:
    """Collects what is written to file descriptor 2, by C++ too, and passes on what is not chatter."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            lines = held.read().decode(errors="replace").splitlines(keepends=True)
            sys.stderr.write("".join(line for line in lines if not _CHATTER.match(line)))
