"""From a version's folder to something that can answer: verify, open, prove, then build the batcher.

The slow part runs in threads and touches nothing of the loop's; what is only read and computed, in the quiet one of
`service.models.quiet`. A version that does not reproduce its golden samples on this hardware is refused with the sample
and the difference.
"""

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from bundle import store
from bundle.errors import BundleError, BundleInvalid
from bundle.preprocessing import Limits
from bundle.store import Bundle
from service.batching.batcher import Batcher
from service.batching.instances import Renewal
from service.config import MEBIBYTE, Settings
from service.errors import ModelUnusable
from service.models import golden
from service.models.quiet import quiet_executor
from service.models.ranked import RankedRuntime
from service.models.version import Servable
from service.runtimes.base import Runtime
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime
from service.telemetry.metrics import Metrics

T = TypeVar("T")


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
        self._quiet = quiet_executor()

    async def load(self, path: Path) -> Servable:
        """Loads the version in the folder. Raises ModelUnusable with the reason."""
        opened = await self._open(path)
        bundle, settings = opened.bundle, self._settings
        metrics = self._metrics.version(bundle.name, bundle.version)
        batcher = Batcher(
            opened.runtimes,
            bundle.manifest.signature,
            max_batch_size=settings.max_batch_size,
            metrics=metrics,
            timeout=settings.batch_timeout,
            renewal=Renewal(open=partial(self._renewed, bundle), prove=partial(self._prove, bundle)),
        )
        count = f"{len(opened.runtimes)} x " if len(opened.runtimes) > 1 else ""
        runs_on = f"{count}{opened.runtimes[0].info}"
        servable = Servable(
            bundle,
            opened.labels,
            batcher,
            metrics,
            runs_on=runs_on,
            max_pending=settings.max_pending,
            explains=bundle.variant(opened.runtimes[0].info.variant).explain is not None,
        )
        alive = weakref.ref(servable)  # the metrics must not keep an unloaded version
        metrics.pending.set_function(lambda: there.pending if (there := alive()) else 0)
        return servable

    async def _open(self, path: Path) -> _Opened:
        """Reads and proves in the quiet thread; opens runtimes in a usual one, whose priority their threads inherit."""
        bundle, labels = await self._quietly(_read, path)
        runtimes: list[Runtime] = []
        try:
            for _ in range(self._settings.instances):
                runtime = await asyncio.to_thread(self._runtime, bundle)
                runtimes.append(RankedRuntime(runtime, bundle.manifest.heads))
                await self._quietly(self._prove, bundle, runtime)
        except BaseException:
            for runtime in runtimes:
                runtime.close()
            raise
        return _Opened(bundle, labels, runtimes)

    async def _quietly(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._quiet, work, *arguments)

    def _runtime(self, bundle: Bundle) -> Runtime:
        settings = self._settings
        return open_runtime(
            bundle, engine=settings.runtime, device=self._device, threads=settings.threads, explain=True
        )

    def _renewed(self, bundle: Bundle) -> Runtime:
        """A runtime in the place of a lost one: it reproduces the golden samples, and ranks."""
        runtime = self._runtime(bundle)
        try:
            self._prove(bundle, runtime)
        except BaseException:
            runtime.close()
            raise
        return RankedRuntime(runtime, bundle.manifest.heads)

    def _prove(self, bundle: Bundle, runtime: Runtime) -> None:
        """Asks the runtime itself: what ranks its answers keeps few of the maps."""
        if isinstance(runtime, RankedRuntime):
            runtime = runtime.unranked
        golden.prove(runtime, bundle, self._settings.max_batch_size, explain=True)


def _read(path: Path) -> tuple[Bundle, dict[str, tuple[str, ...]]]:
    """The version's bundle and its labels by head, every byte of it verified."""
    try:
        bundle = store.open_bundle(path)
        store.verify_files(bundle)
        return bundle, {head.name: bundle.labels(head.name) for head in bundle.manifest.heads}
    except BundleInvalid as error:
        raise ModelUnusable(error.problem) from error  # callers are told, and the server's paths are not theirs
    except BundleError as error:
        raise ModelUnusable(str(error)) from error


def limits(settings: Settings) -> Limits:
    """What a picture may be, as the settings say."""
    return Limits(
        max_bytes=settings.max_image_mb * MEBIBYTE,
        max_pixels=settings.max_image_pixels,
        max_side=settings.max_image_side,
    )
