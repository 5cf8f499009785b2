"""Where a version comes from: enough to audit it and to train it again. Called by `training.publish`."""

import dataclasses
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from bundle.manifest import Provenance
from training.config import TrainingConfig

# Those of them that are installed are recorded: some come under several names, as onnxruntime-gpu.
_LIBRARIES = (
    "convoy-serving",
    "keras",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "pillow",
    "tensorflow",
    "tensorflow-cpu",
    "tf2onnx",
)
_GIT_SECONDS = 10


def provenance(config: TrainingConfig, data_digest: str) -> Provenance:
    """The configuration, the data, the code and the libraries of a run that ends now."""
    return record(dataclasses.asdict(config), seed=config.seed, data_digest=data_digest)


def record(
    config: dict[str, str | int | float | bool | None], *, seed: int | None = None, data_digest: str | None = None
) -> Provenance:
    """The same for a version that no training configuration describes."""
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
        seed=seed,
        git_revision=_git_revision(Path(__file__)),
        data_digest=data_digest,
        libraries={"python": platform.python_version()} | _installed(_LIBRARIES),
    )


def _installed(distributions: Iterable[str]) -> dict[str, str]:
    """The versions of those distributions that are installed."""
    versions = {}
    for name in distributions:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _git_revision(code: Path) -> str | None:
    """The commit of the running code, with "-dirty" where it was changed; None where Git does not track this file.

    An installed copy may lie inside somebody else's repository, whose revision would say nothing.
    """
    git = ("git", "-C", str(code.parent))
    try:
        _output(*git, "ls-files", "--error-unmatch", code.name)
        return _output(*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _output(*command: str) -> str:
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_GIT_SECONDS)
    return finished.stdout.strip()
