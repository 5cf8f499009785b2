"""Brings a data set that Debian packages, without root and without installing anything.

apt-get knows where the machine's packages come from and checks their signatures; dpkg unpacks into a folder of ours. A
folder appears whole or not at all, so two runs that fetch at the same time don't disturb each other. Called by the
loaders.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from training.errors import DatasetUnavailable

_TIMEOUT_SECONDS = 600
# No answer from a mirror for this long is a failure, which is said, rather than apt's default of a silent wait.
_QUIET_AND_BOUNDED = ("--quiet", "--option", "Acquire::http::Timeout=20", "--option", "Acquire::https::Timeout=20")


def fetch(package: str, folder: str, destination: Path) -> None:
    """Downloads `package` and makes the `folder` that it would install, given without its leading "/", `destination`.

    Raises DatasetUnavailable, whose message is the reason only.
    """
    missing = [program for program in ("apt-get", "dpkg") if shutil.which(program) is None]
    if missing:
        raise DatasetUnavailable(f"{' and '.join(missing)} not found on this machine")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=destination.parent) as work:
            _run(("dpkg", "--extract", str(_download(package, Path(work))), "unpacked"), Path(work))
            _move(Path(work, "unpacked", folder), destination)
    except OSError as error:
        raise DatasetUnavailable(f"{error.filename or destination}: {error.strerror or error}") from error


def _download(package: str, work: Path) -> Path:
    try:
        _apt_get(("download", package), work)
    except DatasetUnavailable:
        # Fresh images come without package lists; a private copy of them needs no root.
        private = ("--option", f"Dir::State::Lists={work}/lists", "--option", f"Dir::Cache={work}/cache")
        for folder in ("lists/partial", "cache/archives/partial"):
            (work / folder).mkdir(parents=True)
        _apt_get((*private, "update"), work)
        _apt_get((*private, "download", package), work)
    return next(work.glob("*.deb"))


def _apt_get(arguments: Sequence[str], work: Path) -> None:
    _run(("apt-get", *_QUIET_AND_BOUNDED, *arguments), work)


def _run(command: Sequence[str], work: Path) -> None:
    environment = os.environ | {"LC_ALL": "C"}
    try:
        subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True, timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise DatasetUnavailable(f"{command[0]} did not finish within {_TIMEOUT_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        raise DatasetUnavailable(f"{command[0]} failed: {lines[-1] if lines else error.returncode}") from error


def _move(unpacked: Path, destination: Path) -> None:
    try:
        unpacked.rename(destination)
    except OSError:
        if not destination.is_dir():  # otherwise another run has brought it meanwhile, from the same package
            raise
