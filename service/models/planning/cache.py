"""Choices that were made before, kept by what they depend on: the version's bytes, the hardware, engines and settings.

One JSON file a choice, written beside its place and renamed, so a reader sees a whole one or none. A file that is
damaged, or for something else, counts as none and the log says so; a folder that can't be written costs a warning.
Called by `planner`, in a thread.
"""

import hashlib
import logging
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import msgspec

from bundle.digests import MANIFEST
from bundle.store import Bundle
from service.config import Settings
from service.models.planning.candidates import Pins
from service.models.planning.plan import Choice
from service.runtimes.usable import usable_cores

log = logging.getLogger(__name__)

_FORMAT: Final = 5  # of the file, and of what is measured: a change makes every kept choice void
_ENGINES: Final = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorflow")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file holds: the choice and, in full, what it was made for."""

    made_for: dict[str, str]
    choice: Choice


class Cache:
    """The choices in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: dict[str, str]) -> Choice | None:
        """The choice that was made for exactly this, if there is one."""
        path = self._path(key)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("a kept plan can't be read and is made anew", extra={"path": str(path), "problem": str(error)})
            return None
        return kept.choice if kept.made_for == key else None

    def keep(self, key: dict[str, str], choice: Choice) -> None:
        """Writes the choice, or says why not."""
        path = self._path(key)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode(Kept(key, choice)))
            draft.replace(path)
        except OSError as error:
            log.warning("the plan can't be kept", extra={"path": str(path), "problem": str(error)})
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _path(self, key: dict[str, str]) -> Path:
        digest = hashlib.sha256(msgspec.json.encode(key, order="sorted")).hexdigest()
        return self._folder / "plans" / f"{digest}.json"


def key(bundle: Bundle, settings: Settings, pins: Pins) -> dict[str, str]:
    """All that a choice depends on, as text. The manifest holds the digest of every file of the version."""
    manifest = (bundle.path / MANIFEST).read_bytes()
    facts: dict[str, Any] = {
        "format": _FORMAT,
        "manifest": hashlib.sha256(manifest).hexdigest(),
        "device": settings.device,
        "precision": settings.precision,
        **asdict(pins),
        **_hardware(),
        **{f"{name} version": installed for name in _ENGINES if (installed := _installed(name))},
    }
    return {name: str(value) for name, value in facts.items()}


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _hardware() -> dict[str, object]:
    return {
        "cores": usable_cores(),
        "machine": platform.machine(),
        "cpu": _cpu(Path("/proc/cpuinfo")),
        "gpus": " ".join(sorted(_gpu(path) for path in Path("/proc/driver/nvidia/gpus").glob("*/information"))),
    }


def _cpu(path: Path) -> str:
    """The first processor's model and instruction sets; "" where the system does not tell."""
    with suppress(OSError), path.open() as lines:
        told = {}
        for line in lines:
            name, _, value = line.partition(":")
            told[name.strip()] = value.strip()
            if not line.strip():
                break
        return " | ".join(told.get(name, "") for name in ("model name", "flags", "Features"))
    return ""


def _gpu(path: Path) -> str:
    with suppress(OSError):
        return next((line.partition(":")[2].strip() for line in path.read_text().splitlines() if "Model" in line), "")
    return ""
