"""Brings single versions from their folders to READY, or says why not.

The invariant: what fails is UNAVAILABLE with its reason and tried again only when something changed or its pause is
over, so that a broken version costs little. A version whose files are not whole while they still change is LOADING:
somebody copies it, and that is no error; only at the server's first look nothing is waited for. Owned by the registry;
belongs to the event loop.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from service.errors import FilesIncomplete, ServiceError, SettingsError, printable
from service.models.failures import Failures
from service.models.loader import Loader
from service.models.version import ModelVersion, Servable, State
from service.models.versions import Versions
from service.runtimes.devices import Device
from service.telemetry.metrics import Metrics

_CPU: Final = str(Device("cpu"))


class Loads:
    """The attempts to load versions; the first pause after one that failed takes `retry_seconds`."""

    def __init__(self, loader: Loader, versions: Versions, metrics: Metrics, retry_seconds: float) -> None:
        self._loader = loader
        self._versions = versions
        self._metrics = metrics
        self._failures = Failures(retry_seconds)

    async def ensure(self, name: str, number: int, path: Path, pinned: Mapping[str, object], *, copies: bool) -> None:
        """Loads the version in the folder unless it is loaded, or has failed and nothing speaks for another attempt.

        `pinned` is the [plan] of its model's file; `copies` says whether it may still be being copied. Raises
        SettingsError when it can't be loaded because of how the server was started.
        """
        known = self._versions.of(name).get(number)
        if known is not None and (known.servable is not None or known.state is State.UNLOADING):
            return  # without a runtime its batcher tries to get one again
        try:
            self._failures.look(path, await self._loader.stamp(path))
        except ServiceError as error:  # its files hang; what is known of it stays
            if known is None:
                self._versions.move(self._versions.add(name, number), State.UNAVAILABLE, printable(str(error)))
            return
        before, known = known, self._versions.of(name).get(number)
        if known is None and before is not None:
            return  # forgotten meanwhile: it is not wanted any more
        if known is not None and self._failures.stands(path):
            return
        if known is None or not known.arriving:
            known = self._versions.add(name, number)
            self._versions.move(known, State.LOADING)
        known.arriving = False  # not while it is being loaded: what only waits may be forgotten meanwhile
        await self._load(known, path, pinned, copies=copies)

    def forgive(self, model: Path) -> None:
        """Has the model's versions tried again: what they failed for may be gone."""
        self._failures.forget_all_of(model)

    async def _load(self, version: ModelVersion, path: Path, pinned: Mapping[str, object], *, copies: bool) -> None:
        began = time.monotonic()
        replaces = self._versions.default(version.name) is not None
        try:
            version.servable = await self._loader.load(path, pinned, replaces=replaces)
        except Exception as error:
            if copies and isinstance(error, FilesIncomplete) and self._failures.moves(path):
                self._wait_for_files(version, path, error)
            else:
                self._fail(version, path, error)
            return
        self._failures.forget(path)
        seconds = time.monotonic() - began
        self._metrics.loaded(version.name, version.number, seconds)
        version.servable.batcher.changed = partial(self._runtimes_changed, version, version.servable)
        self._versions.move(version, State.READY, runs_on=version.servable.runs_on, seconds=round(seconds, 3))

    def _wait_for_files(self, version: ModelVersion, path: Path, error: FilesIncomplete) -> None:
        self._failures.wait_for_files(path)
        reason = printable(f"its files are not whole and may still be being copied: {error}")
        version.arriving = True
        if version.reason != reason:
            self._versions.move(version, State.LOADING, reason)

    def _fail(self, version: ModelVersion, path: Path, error: Exception) -> None:
        """Raises what is a start-up mistake."""
        self._failures.add(path)
        known_kind = isinstance(error, ServiceError)
        reason = str(error) if known_kind else f"{type(error).__name__}: {error}"
        self._versions.move(version, State.UNAVAILABLE, printable(reason), exc_info=not known_kind)
        if isinstance(error, SettingsError):
            raise error

    def _runtimes_changed(self, version: ModelVersion, servable: Servable) -> None:
        """A version none of whose instances works is not READY until one does again."""
        batcher = servable.batcher
        if version.state is State.UNLOADING:
            return
        lost = State.LOADING if batcher.renewing else State.UNAVAILABLE
        state = lost if batcher.problem else State.READY
        if version.state is State.READY and state is not State.READY and batcher.device != _CPU:
            self._doubt(servable)
        if (state, batcher.problem) != (version.state, version.reason):
            self._versions.move(version, state, batcher.problem)
        else:
            self._versions.tell()  # what could once more not be mended may be lost

    def _doubt(self, broken: Servable) -> None:
        """Has what else runs on an accelerator prove itself.

        After most of its errors CUDA fails everything of the process, and what nobody asks would not show it.
        """
        for version in self._versions:
            other = version.servable
            if version.serves and other is not None and other is not broken and other.batcher.device != _CPU:
                other.batcher.prove_idle()
