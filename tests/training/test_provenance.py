"""Revisions against real Git repositories, versions against what is installed here."""

import shutil
import subprocess

import pytest

from training.provenance import _git_revision, _installed

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def test_a_library_under_another_name_does_not_lose_the_run():
    """Where a GPU is used, onnxruntime-gpu stands in for onnxruntime."""
    assert _installed(["pytest", "no-such-library"]) == {"pytest": pytest.__version__}


def git(folder, *arguments):
    identity = ("-c", "user.name=n", "-c", "user.email=n@localhost", "-c", "commit.gpgsign=false")
    finished = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return finished.stdout.strip()


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A committed file."""
    monkeypatch.delenv("GIT_DIR", raising=False)
    file = tmp_path / "code.py"
    file.write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--message", "first")
    git(tmp_path, "tag", "v1")
    return file


def test_committed_code_has_its_commit(code):
    assert _git_revision(code) == git(code.parent, "rev-parse", "HEAD")


def test_changed_code_is_said_to_be(code):
    code.write_text("2")
    assert _git_revision(code) == git(code.parent, "rev-parse", "HEAD") + "-dirty"


def test_a_copy_inside_somebody_elses_repository_has_none(code):
    installed = code.with_name("installed.py")
    installed.write_text("1")
    assert _git_revision(installed) is None


def test_code_outside_of_git_has_none(tmp_path):
    assert _git_revision(tmp_path / "code.py") is None


def test_a_machine_without_git_has_none(code, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _git_revision(code) is None
