"""Every metric of the server, declared once; `README.md` lists them and a test holds the list true.

The hot path never looks a label up: a version binds its children once (`Metrics.version`), the servicer binds one child
a method and code. Histograms are in seconds. One instance a server, so tests and several servers never share counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from service.telemetry.histogram import Histogram, Series

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PLAN = ("engine", "variant", "computed", "threads", "instances", "max_batch_size")
STATES = ("LOADING", "READY", "UNLOADING", "UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class VersionMetrics:
    """The children of one model version, bound once."""

    images: Counter
    rejected: Counter
    preprocess: Series
    queue: Series
    compute: Series
    batch_size: Series
    batches_failed: Counter
    instances_lost: Counter
    pending: Gauge


class Metrics:
    """The server's registry and what it counts."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series a counter, which nothing reads
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        version = ("model", "version")
        self._calls = self._histogram(
            "convoy_call_seconds", "Calls by method and gRPC code.", ("method", "code"), SECONDS
        )
        self._images = Counter("convoy_images", "Pictures classified.", version, registry=self.registry)
        self._rejected = Counter(
            "convoy_images_rejected", "Pictures that could not be used.", version, registry=self.registry
        )
        self._preprocess = self._histogram(
            "convoy_preprocess_seconds",
            "Decode and resize of a call's part, with the wait for a thread.",
            version,
            SECONDS,
        )
        self._queue = self._histogram("convoy_queue_seconds", "Wait for a batch.", version, SECONDS)
        self._compute = self._histogram("convoy_compute_seconds", "One run of the model.", version, SECONDS)
        self._batch = self._histogram("convoy_batch_size", "Pictures in one run of the model.", version, ROWS)
        self._failed = Counter(
            "convoy_batches_failed", "Runs of the model that threw or hung.", version, registry=self.registry
        )
        self._lost = Counter(
            "convoy_instances_lost", "Instances given up because they hung or broke.", version, registry=self.registry
        )
        self._pending = Gauge(
            "convoy_pending_images", "Pictures accepted and not yet answered.", version, registry=self.registry
        )
        self._state = Gauge(
            "convoy_model_state", "1 for the state a version is in.", (*version, "state"), registry=self.registry
        )
        self._load = Gauge("convoy_model_load_seconds", "Time from LOADING to READY.", version, registry=self.registry)
        self._plan = Gauge(
            "convoy_plan_info", "1 for the plan by which a version runs.", (*version, *PLAN), registry=self.registry
        )
        self._plans: dict[tuple[str, str], tuple[str, ...]] = {}
        self._label = Gauge(
            "convoy_version_label", "The version that a label points to.", ("model", "label"), registry=self.registry
        )
        self._build = Info(
            "convoy_build", "The release, and the runtime and device that were asked for.", registry=self.registry
        )
        self.call = cache(self._call)

    def _histogram(self, name: str, doc: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(name, doc, labels, buckets, self.registry)

    def _call(self, method: str, code: str) -> Series:
        return self._calls.labels(method, code)

    def version(self, model: str, version: int) -> VersionMetrics:
        """Binds the children of one version."""
        at = (model, str(version))
        return VersionMetrics(
            images=self._images.labels(*at),
            rejected=self._rejected.labels(*at),
            preprocess=self._preprocess.labels(*at),
            queue=self._queue.labels(*at),
            compute=self._compute.labels(*at),
            batch_size=self._batch.labels(*at),
            batches_failed=self._failed.labels(*at),
            instances_lost=self._lost.labels(*at),
            pending=self._pending.labels(*at),
        )

    def state(self, model: str, version: int, state: str) -> None:
        """Marks the one state that a version is in."""
        for name in STATES:
            self._state.labels(model, str(version), name).set(name == state)

    def loaded(self, model: str, version: int, seconds: float) -> None:
        """Records how long a version took from LOADING to READY."""
        self._load.labels(model, str(version)).set(seconds)

    def plan(self, model: str, version: int, plan: object) -> None:
        """Tells the plan by which a version runs now; it has the attributes that `PLAN` names."""
        at = (model, str(version))
        self._forget_plan(at)
        self._plans[at] = tuple(str(getattr(plan, name)) for name in PLAN)
        self._plan.labels(*at, *self._plans[at]).set(1)

    def _forget_plan(self, at: tuple[str, str]) -> None:
        if (told := self._plans.pop(at, None)) is not None:
            self._plan.remove(*at, *told)

    def forget(self, model: str, version: int) -> None:
        """Drops the gauges of a version that is gone; its counters stay, as Prometheus expects."""
        for name in STATES:
            self._state.remove(model, str(version), name)
        for gauge in (self._pending, self._load):
            gauge.remove(model, str(version))
        self._forget_plan((model, str(version)))

    def label(self, model: str, label: str, version: int | None) -> None:
        """Records where a label points; None for one that is gone."""
        if version is None:
            self._label.remove(model, label)
        else:
            self._label.labels(model, label).set(version)

    def build(self, **facts: str) -> None:
        """Tells the release and the runtime."""
        self._build.info(facts)


class WorkersMetrics:
    """What the parent of several workers counts by itself; its registry also shows theirs, by a label `worker`."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as above
        self.registry = CollectorRegistry()
        self.restarts = Counter(
            "convoy_worker_restarts",
            "Workers that died and were started again (--workers).",
            ("worker",),
            registry=self.registry,
        )
