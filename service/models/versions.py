"""The table of a server's versions: by model and number, the state of each, and which one answers who names none.

The invariant: no state changes but through `move`, which tells the log, the metrics and whoever watches, and leaves the
default right; calls only look that up. Owned by the registry; belongs to the event loop.
"""

import logging
from collections.abc import Callable, Iterator, Mapping

from service.models.version import ModelVersion, State
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Versions:
    """Every version that is known. `chosen` gives those of a model that the policy wants, None where it is gone."""

    def __init__(
        self, metrics: Metrics, chosen: Callable[[str], frozenset[int] | None], on_change: Callable[[], None]
    ) -> None:
        self._metrics = metrics
        self._chosen = chosen
        self._on_change = on_change
        self._versions: dict[str, dict[int, ModelVersion]] = {}
        self._default: dict[str, ModelVersion] = {}

    def names(self) -> set[str]:
        """The models that have any version."""
        return {name for name, of in self._versions.items() if of}

    def of(self, name: str) -> Mapping[int, ModelVersion]:
        """The model's versions by number, none for a model that is not known."""
        return self._versions.get(name, {})

    def default(self, name: str) -> ModelVersion | None:
        """The highest READY version that the policy chooses, or else the highest READY one."""
        return self._default.get(name)

    def add(self, name: str, number: int) -> ModelVersion:
        """A new version, in the place of one with that number; to be moved at once."""
        version = self._versions.setdefault(name, {})[number] = ModelVersion(name, number)
        return version

    def lost(self) -> str:
        """Why nothing that served answers any more, in words, where only a new process may help; else empty.

        While one version goes on, the others are not worth what a new process costs it. One that could not be loaded
        to begin with is not counted: it could not be in a new process either.
        """
        serving = [version for version in self if version.serves]
        if not all(version.servable and version.servable.batcher.lost for version in serving):
            return ""
        return "; ".join(f"{version.name} {version.number}: {version.reason}" for version in serving)

    def move(
        self, version: ModelVersion, state: State, reason: str = "", *, exc_info: bool = False, **facts: object
    ) -> None:
        """Changes the state; `facts` are for the log."""
        version.state, version.reason = state, reason
        self.settle_default(version.name)
        self._metrics.state(version.name, version.number, state)
        known = {"model": version.name, "version": version.number, "state": str(state)}
        level = logging.ERROR if state is State.UNAVAILABLE else logging.INFO
        if reason:
            facts["reason"] = reason
        log.log(level, "model state", extra={**known, **facts}, exc_info=exc_info)
        self._on_change()

    def tell(self) -> None:
        """Has whoever watches look again at what is no state."""
        self._on_change()

    def forget(self, version: ModelVersion) -> None:
        """Removes the version, unless another one has its number by now."""
        name, number = version.name, version.number
        if self._versions[name].get(number) is version:
            del self._versions[name][number]
            self._metrics.forget(name, number)
            self.settle_default(name)
            self._on_change()

    def settle_default(self, name: str) -> None:
        """Finds the default anew: to be asked whenever the policy's choice may have changed."""
        ready = {number for number, version in self.of(name).items() if version.state is State.READY}
        best = max(ready & (self._chosen(name) or frozenset()) or ready, default=None)
        if best is None:
            self._default.pop(name, None)
        else:
            self._default[name] = self._versions[name][best]

    def __iter__(self) -> Iterator[ModelVersion]:
        """A copy of all, so that they may change meanwhile."""
        return iter([version for of in self._versions.values() for version in of.values()])
