"""All versions that the server knows, and the moves between their states.

`reconcile` brings them to what the repository holds: the versions that the policy chooses and those that a label needs
are loaded, what they replace is drained only after they are READY, a version that fails stays UNAVAILABLE with its
reason and the one before it serves, also after a restart. Belongs to the event loop; `service.inference` leases from
it, the server watches its changes.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from service.errors import (
    LabelRefused,
    ModelNotFound,
    RequestInvalid,
    ServiceError,
    printable,
)
from service.models import finding, memory
from service.models.failures import RETRY_SECONDS
from service.models.finding import is_ready
from service.models.following import PATIENCE_SECONDS, Following
from service.models.labels import Labels, check_label
from service.models.loader import Loader
from service.models.loads import Loads
from service.models.policy import Policy
from service.models.repository import PublishedModel
from service.models.version import ModelQuery, ModelVersion, Servable, State
from service.models.versions import Versions
from service.models.wanted import Wanted
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LATEST: Final = Policy(latest=1)


class Registry:
    """The versions by model and number."""

    def __init__(
        self,
        loader: Loader,
        metrics: Metrics,
        on_change: Callable[[], None],
        *,
        policy: Policy = LATEST,
        labels: Labels | None = None,
        retry_seconds: float = RETRY_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._loader = loader
        self._on_change = on_change
        self._wanted = Wanted(policy, labels or Labels(None), metrics)
        self._versions = Versions(metrics, self._wanted.chosen, on_change)
        self._loads = Loads(loader, self._versions, metrics, retry_seconds)
        self._looked = False
        self._behind: dict[str, frozenset[int]] = {}  # the versions that could not go over to their model's plan
        self._unloading: set[asyncio.Task[None]] = set()
        self._following = Following(self._follow, patience)

    def models(self) -> Mapping[str, Sequence[ModelVersion]]:
        """Every version by model, ascending; none for a model whose own file is wrong from the beginning."""
        versions = {
            name: self._versions.of(name) for name in sorted(self._versions.names().union(self._wanted.troubled()))
        }
        return {name: [of[number] for number in sorted(of)] for name, of in versions.items()}

    def ready(self, name: str) -> bool:
        """Whether any version of the model can answer."""
        return self._versions.default(name) is not None

    def complete(self, name: str) -> bool:
        """Whether it can answer, also by each of its labels whose version can still come."""
        of = self._versions.of(name)
        labelled = (number for number in self._wanted.labels.meant(name).values() if self._wanted.holds(name, number))
        return self.ready(name) and all(
            number in of and (is_ready(of, number) or of[number].hopeless) for number in labelled
        )

    def problem(self, name: str) -> str:
        """What is wrong with a model's file, policy or labels while what it had goes on; empty where nothing is."""
        return self._wanted.problem(name)

    def lost(self) -> str:
        """Why nothing that served answers any more, in words, where only a new process may help; else empty."""
        return self._versions.lost()

    def labels(self, name: str) -> Mapping[str, int]:
        """The model's labels and the version each points to."""
        return self._wanted.labels.of(name)

    def find(self, query: ModelQuery) -> ModelVersion:
        """The READY version that the query means. Raises ModelNotFound, ModelNotReady, or ModelUnusable
        where waiting won't help, saying what there is.

        Without a number or a label it is the highest READY one that the policy chooses, or else the highest READY one:
        a version that is there for its label only gets no other calls while there is a choice.
        """
        if query.version is None and query.label is None:
            version = self._versions.default(query.name)
            if version is not None:
                return version
        of = self._known(query.name)
        if query.label is not None:
            held = partial(self._wanted.holds, query.name)
            return finding.by_label(of, query.name, query.label, self._wanted.labels.meant(query.name), held)
        if query.version is not None:
            return finding.by_number(of, query.name, query.version)
        raise finding.none_ready(of, query.name, self.problem(query.name))

    async def reconcile(self, found: Sequence[PublishedModel]) -> None:
        """Loads what is wanted and not there, then unloads what is there and not wanted.

        The first one waits for all loads, later ones leave a long load to itself. Raises SettingsError when a version
        can't be loaded because of how the server was started.
        """
        self._wanted.take(found)
        for name in self._versions.names():
            self._versions.settle_default(name)
        await self._following.look(found)
        self._looked = True
        for name in self._versions.names():
            self._sweep(name)

    async def stop_loading(self) -> None:
        """Gives up the loads that are under way."""
        await self._following.stop()

    async def set_label(self, name: str, label: str, number: int) -> int | None:
        """Points a label at a READY version; gives where it pointed before.

        Raises RequestInvalid for what can't be a label, ModelNotFound, and LabelRefused where the version is not READY
        or the model's file declares the label.
        """
        check_label(label, RequestInvalid)
        of = self._known(name)

        def check() -> None:
            if not is_ready(of, number):
                raise LabelRefused(
                    f"label {label!r} of model {name!r} can only point at a READY version, and {number} is not; "
                    f"it has: {finding.states(of)}"
                )

        before = await self._wanted.labels.put(name, label, number, check)
        self._label_moved(name)
        return before

    async def delete_label(self, name: str, label: str) -> int:
        """Removes a label; gives where it pointed. Raises ModelNotFound, or LabelRefused where the file declares it."""
        self._known(name)
        before = await self._wanted.labels.delete(name, label)
        self._label_moved(name)
        return before

    async def close(self) -> None:
        """Unloads everything; waits for the calls that still run."""
        await self.stop_loading()
        for version in self._versions:
            self._retire(version)
        if self._unloading:
            await asyncio.gather(*self._unloading)

    def _known(self, name: str) -> Mapping[int, ModelVersion]:
        """The model's versions, which may be none as yet. Raises ModelNotFound."""
        of = self._versions.of(name)
        if not of and name not in self._wanted.troubled():
            known = ", ".join(self.models()) or "none"
            raise ModelNotFound(f"model {name!r} is not in the repository; it holds: {known}")
        return of

    async def _follow(self, model: PublishedModel) -> None:
        """Brings one model to what the repository holds of it."""
        await self._replan(model)
        for number in self._wanted.to_load(model):
            await self._ensure(model, number)
        for number in self._wanted.stand_ins(model.name):
            if self._vacancies(model.name):
                await self._ensure(model, number)
        of = self._versions.of(model.name)
        if self._wanted.settle(model, partial(is_ready, of)):
            self._on_change()
        if of:
            self._sweep(model.name)

    async def _replan(self, model: PublishedModel) -> None:
        """Where the model's file says something else of the plan than before, has what serves go over to it.

        Those that could not, which may pass, try it again at every look.
        """
        of = dict(self._versions.of(model.name))
        late = of.keys() & self._behind.pop(model.name, frozenset())
        if self._wanted.plan_changed(model):
            self._loads.forgive(model.path)
            late = set(of)
        problem, behind = "", set[int]()
        for number in sorted(late):
            servable = of[number].servable
            if of[number].serves and servable is not None:
                try:
                    await self._loader.replan(servable, self._wanted.pinned(model.name))
                except ServiceError as error:
                    problem = printable(str(error))
                    behind.add(number)
        self._behind[model.name] = frozenset(behind)
        self._wanted.plan_problem(model.name, problem)

    async def _ensure(self, model: PublishedModel, number: int) -> None:
        pinned = self._wanted.pinned(model.name)
        await self._loads.ensure(model.name, number, model.path / str(number), pinned, copies=self._looked)

    def _label_moved(self, name: str) -> None:
        self._wanted.tell_labels(name)
        self._sweep(name)

    def _vacancies(self, name: str) -> int:
        """How many of the policy's versions can't be loaded and have no other in their place."""
        of, chosen = self._versions.of(name), self._wanted.chosen(name) or frozenset()
        lost = sum(number in of and of[number].lost for number in chosen)
        able = sum(number not in chosen and version.serves for number, version in of.items())
        return max(0, lost - able)

    def _sweep(self, name: str) -> None:
        """Retires what neither the policy nor a label wants.

        Where a wanted version is not READY, the best of the others stands in for it, those that are READY and the
        highest first, unless the model left the repository. What is LOADING is seen by the sweep after it.
        """
        of, chosen, kept = self._versions.of(name), self._wanted.chosen(name), self._wanted.kept(name)
        old = {number: version for number, version in of.items() if number not in kept}
        needed = 0 if chosen is None else sum(not is_ready(of, number) for number in chosen)
        for number, version in old.items():
            if version.lost and not (needed and number in self._wanted.stand_ins(name)):
                self._versions.forget(version)
        if chosen is not None and not chosen:
            return
        able = [number for number, version in of.items() if number not in (chosen or ()) and version.serves]
        able.sort(key=lambda number: (is_ready(of, number), number), reverse=True)
        for number in able[needed:]:
            if number in old:
                self._retire(old[number])

    def _retire(self, version: ModelVersion) -> None:
        if version.servable is None:
            self._versions.forget(version)
        elif version.state is not State.UNLOADING:
            self._versions.move(version, State.UNLOADING)
            task = asyncio.get_running_loop().create_task(self._unload(version, version.servable))
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)

    async def _unload(self, version: ModelVersion, servable: Servable) -> None:
        await version.unused()
        await servable.batcher.stop()
        version.servable = None
        del servable
        await asyncio.to_thread(memory.give_back)
        self._versions.forget(version)
        log.info("model unloaded", extra={"model": version.name, "version": version.number})
