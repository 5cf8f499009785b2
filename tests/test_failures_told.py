"""A failure's text is in the log even where a later test takes the whole process down."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import os

def test_that_fails():
    answer = 41
    assert answer == 42, "the reason"

def test_that_crashes():
    os.abort()
"""


def test_the_reason_of_a_failure_outlives_a_crash(tmp_path):
    (tmp_path / "test_two.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    done = subprocess.run(
        [*command, tmp_path], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode < 0
    assert "FAILED test_two.py::test_that_fails (call)" in done.stdout
    assert "AssertionError: the reason" in done.stdout
    assert "short test summary" not in done.stdout
