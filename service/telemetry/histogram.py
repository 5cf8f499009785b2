"""A Prometheus histogram whose observation costs an append.

prometheus-client's own takes a lock for the sum and one for the bucket, about two microseconds an observation, several
times a request. Here values wait in a list and are sorted into their buckets all at once, when the list is long or a
scrape asks. The exposition stays the library's.
"""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_WAITING = 4096


class Series:
    """One histogram for one set of label values. `observe` may be called from any thread."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0
        self._waiting: list[float] = []
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Counts one value."""
        self._waiting.append(value)
        if len(self._waiting) > _WAITING:
            self._sort_in()

    def read(self) -> tuple[list[int], float]:
        """How many values fell in each bucket, not cumulated, the last without a bound; and the values' sum."""
        self._sort_in()
        return self._counts.tolist(), self._sum

    def _sort_in(self) -> None:
        with self._lock:
            values = self._waiting[:]
            del self._waiting[: len(values)]  # what came meanwhile stands behind them and stays
            buckets = np.searchsorted(self._bounds, values)
            self._counts += np.bincount(buckets, minlength=len(self._counts))
            self._sum += float(np.sum(values))


class Histogram(Collector):
    """A family of series, bound once by `labels` and kept."""

    def __init__(
        self, name: str, doc: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._doc, self._labels = name, doc, tuple(labels)
        self._bounds = tuple(map(float, bounds))
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """The series of these label values."""
        return self._series.setdefault(values, Series(self._bounds))

    def describe(self) -> Iterable[Metric]:
        """The family without its series, as the registry wants it at registration."""
        return [HistogramMetricFamily(self._name, self._doc, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        """The family with the cumulated buckets of every series."""
        family = HistogramMetricFamily(self._name, self._doc, labels=self._labels)
        bounds = [*map(repr, self._bounds), "+Inf"]
        for values, series in list(self._series.items()):
            counts, total = series.read()
            cumulated = np.cumsum(counts).tolist()
            family.add_metric(values, list(zip(bounds, cumulated, strict=True)), total)
        return [family]
