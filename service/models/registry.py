"""All versions that the server knows, and the moves between their states.

`reconcile` brings them to what the repository holds: new versions are loaded one at a time, the version they replace is
drained only after they are READY, a version that fails stays UNAVAILABLE with its reason and the old one goes on
serving. Belongs to the event loop; `service.inference` leases from it, the server watches its changes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from service.errors import ModelNotFound, ModelNotReady, ServiceError, SettingsError
from service.models.loader import Loader
from service.models.repository import Published, Stamp, stamp
from service.models.version import ModelQuery, ModelVersion, Servable, State
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Registry:
    """The versions by model and number."""

    def __init__(self, loader: Loader, metrics: Metrics, on_change: Callable[[], None]) -> None:
        self._loader = loader
        self._metrics = metrics
        self._on_change = on_change
        self._versions: dict[str, dict[int, ModelVersion]] = {}
        self._failed: dict[Path, Stamp] = {}
        self._unloading: set[asyncio.Task[None]] = set()

    def models(self) -> Mapping[str, Sequence[ModelVersion]]:
        """Every version by model, ascending."""
        return {name: [of[number] for number in sorted(of)] for name, of in sorted(self._versions.items()) if of}

    def ready(self, name: str) -> bool:
        """Whether any version of the model can answer."""
        return any(version.state is State.READY for version in self._versions.get(name, {}).values())

    def find(self, query: ModelQuery) -> ModelVersion:
        """The READY version that the query means. Raises ModelNotFound or ModelNotReady, saying what there is."""
        of = self._versions.get(query.name)
        if not of:
            known = ", ".join(self.models()) or "none"
            raise ModelNotFound(f"model {query.name!r} is not in the repository; it holds: {known}")
        if query.label is not None:
            raise ModelNotFound(f"model {query.name!r} has no version label {query.label!r}")
        if query.version is not None:
            return self._ready_version(of, query.name, query.version)
        ready = [number for number, version in of.items() if version.state is State.READY]
        if not ready:
            raise ModelNotReady(f"model {query.name!r} has no READY version: {_states(of)}")
        return of[max(ready)]

    async def reconcile(self, wanted: Sequence[Published]) -> None:
        """Loads what is wanted and not there, then unloads what is there and not wanted.

        Raises SettingsError when a version can't be loaded because of how the server was started.
        """
        for published in wanted:
            await self._ensure(published)
        numbers = {(published.name, published.version) for published in wanted}
        for name, of in self._versions.items():
            for version in list(of.values()):
                if (version.name, version.number) not in numbers and self._replaced(version, wanted):
                    self._retire(name, version)

    async def close(self) -> None:
        """Unloads everything; waits for the calls that still run."""
        for name, of in self._versions.items():
            for version in list(of.values()):
                self._retire(name, version)
        if self._unloading:
            await asyncio.gather(*self._unloading)

    @staticmethod
    def _ready_version(of: Mapping[int, ModelVersion], name: str, number: int) -> ModelVersion:
        version = of.get(number)
        if version is None:
            raise ModelNotFound(f"model {name!r} has no version {number}; it has: {_states(of)}")
        if version.state is not State.READY:
            because = f": {version.reason}" if version.reason else ""
            raise ModelNotReady(f"version {number} of model {name!r} is {version.state}{because}")
        return version

    async def _ensure(self, published: Published) -> None:
        of = self._versions.setdefault(published.name, {})
        known = of.get(published.version)
        if known is not None and (known.state is not State.UNAVAILABLE or known.servable is not None):
            return  # UNAVAILABLE with a servable: its batcher tries to get a runtime again
        now = await asyncio.to_thread(stamp, published.path)
        if known is not None and self._failed.get(published.path) == now:
            return
        version = of[published.version] = ModelVersion(published.name, published.version)
        self._move(version, State.LOADING)
        began = time.monotonic()
        try:
            version.servable = await self._loader.load(published.path)
        except Exception as error:
            self._failed[published.path] = now
            known_kind = isinstance(error, ServiceError)
            reason = str(error) if known_kind else f"{type(error).__name__}: {error}"
            self._move(version, State.UNAVAILABLE, reason, exc_info=not known_kind)
            if isinstance(error, SettingsError):
                raise
            return
        seconds = time.monotonic() - began
        self._metrics.loaded(version.name, version.number, seconds)
        version.servable.batcher.changed = partial(self._runtimes_changed, version, version.servable)
        self._move(version, State.READY, runs_on=version.servable.runs_on, seconds=round(seconds, 3))

    def _runtimes_changed(self, version: ModelVersion, servable: Servable) -> None:
        """A version none of whose instances works is not READY until one does again."""
        batcher = servable.batcher
        if version.state is State.UNLOADING:
            return
        lost = State.LOADING if batcher.renewing else State.UNAVAILABLE
        state = lost if batcher.problem else State.READY
        if (state, batcher.problem) != (version.state, version.reason):
            self._move(version, state, batcher.problem)

    def _replaced(self, version: ModelVersion, wanted: Sequence[Published]) -> bool:
        """A READY version is given up only when another is READY, or when the model left the repository."""
        if version.state is State.UNLOADING:
            return False
        heirs = [published.version for published in wanted if published.name == version.name]
        of = self._versions[version.name]
        ready = any(heir in of and of[heir].state is State.READY for heir in heirs)
        return version.servable is None or not heirs or ready

    def _retire(self, name: str, version: ModelVersion) -> None:
        if version.servable is None:
            self._forget(name, version)
        elif version.state is not State.UNLOADING:
            self._move(version, State.UNLOADING)
            task = asyncio.get_running_loop().create_task(self._unload(name, version, version.servable))
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)

    async def _unload(self, name: str, version: ModelVersion, servable: Servable) -> None:
        await version.unused()
        await servable.batcher.stop()
        version.servable = None
        self._forget(name, version)
        log.info("model unloaded", extra={"model": name, "version": version.number})

    def _forget(self, name: str, version: ModelVersion) -> None:
        if self._versions[name].get(version.number) is version:
            del self._versions[name][version.number]
            self._metrics.forget(name, version.number)
            self._on_change()

    def _move(
        self, version: ModelVersion, state: State, reason: str = "", *, exc_info: bool = False, **facts: object
    ) -> None:
        version.state, version.reason = state, reason
        self._metrics.state(version.name, version.number, state)
        known = {"model": version.name, "version": version.number, "state": str(state)}
        level = logging.ERROR if state is State.UNAVAILABLE else logging.INFO
        if reason:
            facts["reason"] = reason
        log.log(level, "model state", extra={**known, **facts}, exc_info=exc_info)
        self._on_change()


def _states(of: Mapping[int, ModelVersion]) -> str:
    return ", ".join(
        f"{number} {of[number].state}" + (f" ({of[number].reason})" if of[number].reason else "")
        for number in sorted(of)
    )
