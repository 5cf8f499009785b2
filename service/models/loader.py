"""From a version's folder to something that can answer: verify, open, prove, then build the batcher.

The slow part runs in a thread and touches nothing of the loop's. A version that does not reproduce its golden samples
on this hardware is refused with the sample and the difference.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bundle import store
from bundle.errors import BundleError
from bundle.preprocessing import Limits
from bundle.store import Bundle
from service.batching.batcher import Batcher
from service.batching.instances import Renewal
from service.config import MEBIBYTE, Settings
from service.errors import ModelUnusable
from service.models import golden
from service.models.ranked import RankedRuntime
from service.models.version import Servable
from service.runtimes.base import Runtime
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime
from service.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class _Opened:
    bundle: Bundle
    labels: dict[str, tuple[str, ...]]
    runtimes: list[Runtime]


class Loader:
    """Loads versions the way the settings say."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._device = Device.parse(settings.device)

    async def load(self, path: Path) -> Servable:
        """Loads the version in the folder. Raises ModelUnusable with the reason."""
        opened = await asyncio.to_thread(self._open, path)
        bundle, settings = opened.bundle, self._settings
        metrics = self._metrics.version(bundle.name, bundle.version)
        batcher = Batcher(
            opened.runtimes,
            bundle.manifest.signature,
            max_batch_size=settings.max_batch_size,
            metrics=metrics,
            timeout=settings.batch_timeout,
            renewal=Renewal(open=partial(self._proved, bundle), prove=partial(self._prove, bundle)),
        )
        count = f"{len(opened.runtimes)} x " if len(opened.runtimes) > 1 else ""
        runs_on = f"{count}{opened.runtimes[0].info}"
        servable = Servable(bundle, opened.labels, batcher, metrics, runs_on=runs_on, max_pending=settings.max_pending)
        metrics.pending.set_function(lambda: servable.pending)
        return servable

    def _open(self, path: Path) -> _Opened:
        try:
            bundle = store.open_bundle(path)
            store.verify_files(bundle)
            labels = {head.name: bundle.labels(head.name) for head in bundle.manifest.heads}
        except BundleError as error:
            raise ModelUnusable(str(error)) from error
        runtimes: list[Runtime] = []
        try:
            for _ in range(self._settings.instances):
                runtimes.append(self._proved(bundle))  # noqa: PERF401 - those opened are known when the next one fails
        except BaseException:
            for runtime in runtimes:
                runtime.close()
            raise
        return _Opened(bundle, labels, runtimes)

    def _proved(self, bundle: Bundle) -> Runtime:
        """Opens a runtime that reproduces the golden samples and ranks."""
        settings = self._settings
        runtime = open_runtime(bundle, engine=settings.runtime, device=self._device, threads=settings.threads)
        try:
            self._prove(bundle, runtime)
        except BaseException:
            runtime.close()
            raise
        return RankedRuntime(runtime, bundle.manifest.heads)

    def _prove(self, bundle: Bundle, runtime: Runtime) -> None:
        golden.prove(runtime, bundle, self._settings.max_batch_size)


def limits(settings: Settings) -> Limits:
    """What a picture may be, as the settings say."""
    return Limits(
        max_bytes=settings.max_image_mb * MEBIBYTE,
        max_pixels=settings.max_image_pixels,
        max_side=settings.max_image_side,
    )
