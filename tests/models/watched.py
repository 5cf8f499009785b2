"""A registry over real files, with real bundles and a real runtime; the test says when it looks at them."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from servers import settings

from service.models import repository
from service.models.failures import RETRY_SECONDS
from service.models.following import PATIENCE_SECONDS
from service.models.labels import Labels
from service.models.loader import Loader
from service.models.policy import Policy
from service.models.registry import Registry
from service.models.repository import Stamp
from service.models.version import Servable, State
from service.telemetry.metrics import Metrics


class Watched:
    """A registry over real files; `history` has every state a version was in, `loads` every folder that was opened."""

    def __init__(
        self,
        folder: Path,
        retry_seconds: float = RETRY_SECONDS,
        patience: float = PATIENCE_SECONDS,
        **others: object,
    ) -> None:
        self.folder = folder
        self.metrics = Metrics()
        self.history: list[tuple[str, int, State]] = []
        self.loads: list[Path] = []
        self.before_load: Callable[[Path], Awaitable[None]] | None = None
        self.before_stamp: Callable[[Path], Awaitable[None]] | None = None
        chosen = settings(folder, **others)
        self._loader = Loader(chosen, self.metrics)
        self.registry = Registry(
            self,  # type: ignore[arg-type]
            self.metrics,
            self._changed,
            policy=Policy.parse(chosen.version_policy),
            labels=Labels(chosen.state),
            retry_seconds=retry_seconds,
            patience=patience,
        )

    async def load(self, path: Path, pinned: Mapping[str, object], *, replaces: bool) -> Servable:
        self.loads.append(path)
        if self.before_load:
            await self.before_load(path)
        return await self._loader.load(path, pinned, replaces=replaces)

    async def stamp(self, version: Path) -> Stamp:
        if self.before_stamp:
            await self.before_stamp(version)
        return await self._loader.stamp(version)

    async def replan(self, servable: Servable, pinned: Mapping[str, object]) -> None:
        await self._loader.replan(servable, pinned)

    async def follow(self) -> None:
        await self.registry.reconcile(repository.scan(self.folder))

    def states(self, name: str = "tiny") -> dict[int, State]:
        return {version.number: version.state for version in self.registry.models().get(name, ())}

    def reason(self, number: int) -> str:
        return next(each.reason for each in self.registry.models()["tiny"] if each.number == number)

    def _changed(self) -> None:
        for versions in self.registry.models().values():
            for version in versions:
                entry = (version.name, version.number, version.state)
                if entry not in self.history:
                    self.history.append(entry)
