"""Which versions are to be loaded and why: the server's policy, each model's own file, and the labels.

The invariant: a model whose file is wrong keeps what the file said when it last was right; while it never was, nothing
of the model is loaded, because a guess would be served. Owned by the registry, which does the loading; belongs to the
event loop.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from service.models.labels import Labels
from service.models.modelfile import ModelFile
from service.models.policy import Policy
from service.models.repository import PublishedModel
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Wanted:
    """What the last look at the repository found to be wanted of each model."""

    def __init__(self, policy: Policy, labels: Labels, metrics: Metrics) -> None:
        self.labels = labels
        self._policy = policy
        self._metrics = metrics
        self._files: dict[str, ModelFile] = {}
        self._published: dict[str, tuple[int, ...]] = {}
        self._chosen: dict[str, frozenset[int]] = {}
        self._stand_ins: dict[str, tuple[int, ...]] = {}
        self._problems: dict[str, str] = {}
        self._plans: dict[str, Mapping[str, object]] = {}
        self._plan_problems: dict[str, str] = {}
        self._told: dict[str, Mapping[str, int]] = {}

    def take(self, found: Sequence[PublishedModel]) -> None:
        """Takes what the repository holds now."""
        self._published = {model.name: model.versions for model in found}
        self._chosen = {model.name: self._choose(model) for model in found}
        self._stand_ins = {model.name: self._older(model) for model in found}
        self._problems = {name: said for name, said in self._problems.items() if name in self._chosen}
        self._plans = {name: plan for name, plan in self._plans.items() if name in self._chosen}
        self._plan_problems = {name: said for name, said in self._plan_problems.items() if name in self._chosen}

    def holds(self, name: str, number: int) -> bool:
        """Whether the repository holds the version."""
        return number in self._published.get(name, ())

    def chosen(self, name: str) -> frozenset[int] | None:
        """The published versions that the policy wants; None where the model is not in the repository."""
        return self._chosen.get(name)

    def stand_ins(self, name: str) -> tuple[int, ...]:
        """Who may serve in place of a version that can't be loaded: those published before, the highest first.

        None where the policy names versions: whoever names one wants no other.
        """
        return self._stand_ins.get(name, ())

    def kept(self, name: str) -> frozenset[int]:
        """All that is not to be unloaded: the policy's versions and the labels'; of a model that is gone, nothing."""
        chosen = self._chosen.get(name)
        return frozenset() if chosen is None else chosen | self.labels.wanted(name)

    def to_load(self, model: PublishedModel) -> Iterator[int]:
        """The policy's versions, highest first, then those that are there for a label only."""
        chosen = self._chosen.get(model.name)
        if chosen is None:  # a later look no longer found it
            return
        yield from sorted(chosen, reverse=True)
        if model.name in self._files:
            yield from sorted(self.labels.wanted(model.name).intersection(model.versions) - chosen, reverse=True)

    def problem(self, name: str) -> str:
        """What is not as the model's file wants it; empty where all is."""
        return self._problems.get(name, "")

    def troubled(self) -> Collection[str]:
        """The models that have a problem."""
        return self._problems.keys()

    def pinned(self, name: str) -> Mapping[str, object]:
        """The [plan] of the model's file, as it was when the file last was right."""
        return self._files[name].plan

    def plan_changed(self, model: PublishedModel) -> bool:
        """Whether the model's file says something else in [plan] than when this was last asked."""
        if model.file is None:
            return False
        before = self._plans.get(model.name)
        self._plans[model.name] = model.file.plan
        return before is not None and before != model.file.plan

    def plan_problem(self, name: str, problem: str) -> None:
        """Notes why what serves could not go over to the plan of the model's file; empty where it could."""
        self._plan_problems[name] = problem

    def settle(self, model: PublishedModel, ready: Callable[[int], bool]) -> bool:
        """Moves the declared labels to what is READY, logs what moved and what is wrong; True where that changed."""
        said, now = self.problem(model.name), "; ".join(self._problems_of(model, ready))
        self.tell_labels(model.name)
        if now == said:
            return False
        if now:
            self._problems[model.name] = now
            log.warning("model problem, what it had goes on", extra={"model": model.name, "problem": now})
        else:
            del self._problems[model.name]
            log.info("model problem is gone", extra={"model": model.name})
        return True

    def tell_labels(self, name: str) -> None:
        """Tells the log and the metrics which labels moved since they were last told."""
        before, now = self._told.get(name, {}), self.labels.of(name)
        self._told[name] = dict(now)
        for label in sorted(before.keys() | now.keys()):
            was, points = before.get(label), now.get(label)
            if was != points:
                self._metrics.label(name, label, points)
                log.info("version label", extra={"model": name, "label": label, "version": points, "was": was})

    def _choose(self, model: PublishedModel) -> frozenset[int]:
        if model.file is not None:
            self._files[model.name] = model.file
            self.labels.declare(model.name, model.file.labels)
        policy = self._policy_of(model.name)
        return frozenset() if policy is None else policy.choose(model.versions)

    def _older(self, model: PublishedModel) -> tuple[int, ...]:
        policy, chosen = self._policy_of(model.name), self._chosen[model.name]
        if policy is None or policy.latest is None or not chosen:
            return ()
        return tuple(number for number in sorted(model.versions, reverse=True) if number < min(chosen))

    def _policy_of(self, name: str) -> Policy | None:
        """None while the model's file was never right."""
        terms = self._files.get(name)
        return None if terms is None else terms.policy or self._policy

    def _problems_of(self, model: PublishedModel, ready: Callable[[int], bool]) -> Iterator[str]:
        behind = self.labels.settle(model.name, ready)
        if model.problem:  # what the file said before is no longer there, or may be what was mended
            yield model.problem
        else:
            yield from self._unfulfilled(model, behind)
        for label, number in sorted(self.labels.of(model.name).items()):
            if not self.holds(model.name, number) and ready(number):
                yield (
                    f"version {number} is served for its label {label!r}, but its folder is gone, and after a restart "
                    "it can't be loaded: put it back, or move the label"
                )

    def _unfulfilled(self, model: PublishedModel, behind: Sequence[tuple[str, int]]) -> Iterator[str]:
        """What the file and the policy want and is not so; `behind` are the labels that stay where they were."""
        if said := self._plan_problems.get(model.name):
            yield said
        policy = self._policy_of(model.name)
        specific = None if policy is None else policy.specific
        if specific and (missing := sorted(specific.difference(model.versions))):
            yield f"the policy wants {missing}, which the repository does not hold"
        for label, to in behind:
            at = self.labels.of(model.name).get(label)
            stays = "points nowhere" if at is None else f"stays at version {at}"
            why = "is not READY" if self.holds(model.name, to) else "is not in the repository"
            yield f"label {label!r} {stays}, because version {to} {why}"
