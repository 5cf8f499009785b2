"""The whole server on one page: what it is made of, how it starts and how it stops.

Start: ports first, so that probes are answered at once; then the repository; health turns SERVING when every model is
READY. Stop: health NOT_SERVING, the drain delay in which calls are still taken, then new calls are refused and every
accepted one is answered, then gRPC, batchers and runtimes.
"""

import asyncio
import importlib.metadata
import logging
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from service.api import grpcio_transport, tls
from service.api.admin import AdminServicer
from service.api.classifier import ClassifierServicer
from service.api.grpcio_transport import GrpcioTransport
from service.api.health import Health
from service.api.status import Guard
from service.config import MEBIBYTE, Settings, Shared
from service.errors import SettingsError
from service.inference.dataplane import DataPlane
from service.inference.pending import PendingBytes
from service.inference.room import Room
from service.models import repository
from service.models.labels import Labels
from service.models.loader import Loader, limits
from service.models.policy import Policy
from service.models.registry import Registry
from service.runtimes.devices import Device
from service.runtimes.opening import check_device
from service.telemetry.http import HttpServer
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.api.native_transport import NativeTransport

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
STUCK_SECONDS = 15.0


class RuntimesLost(Exception):
    """Nothing that served answers any more, in words, and only a new process may help."""


class Server:
    """One server. Raises SettingsError from its constructor or `start` for a start-up mistake."""

    def __init__(self, settings: Settings, *, shared: Shared | None = None) -> None:
        repository.check(settings.repository)
        check_device(settings.runtime, Device.parse(settings.device))
        self._settings = settings
        self.metrics = Metrics()
        self.metrics.build(
            version=importlib.metadata.version("convoy-serving"), runtime=settings.runtime, device=settings.device
        )
        self._loader = Loader(settings, self.metrics)
        self.models = Registry(
            self._loader,
            self.metrics,
            self._changed,
            policy=Policy.parse(settings.version_policy),
            labels=Labels(settings.state),
        )
        self._awaits = shared.awaits if shared else None
        self._unsure = shared.unsure if shared else False
        self.health = Health(strict=self._awaits is None)
        self._data_plane = DataPlane(
            self.models,
            limits=limits(settings),
            max_images_per_call=settings.max_images_per_call,
            threads=settings.decoding_threads,
            room=Room(processes=settings.workers),
            pending=PendingBytes(settings.max_pending_mb * MEBIBYTE, processes=settings.workers),
        )
        self._guard = Guard(self.metrics)
        self._is_shared = shared is not None
        self._grpc = self._transport() if self._awaits is None else None
        self.port = self._grpc.port if self._grpc else settings.port
        http = (shared.http, 0) if shared else (settings.host, settings.metrics_port)
        self._http = HttpServer(*http, self.metrics.registry, live=self._dead, ready=self.health.problem)
        self.metrics_port = self._http.port
        self._seen: frozenset[str] | None = None  # the models that the repository holds
        self._scanned = False
        self._joining: asyncio.Task[None] | None = None
        self._beat = time.monotonic()
        self._stopping = asyncio.Event()
        self._failure: Exception | None = None

    def _transport(self) -> "GrpcioTransport | NativeTransport":
        """What listens from now on, and answers once it is started."""
        shared = self._is_shared
        classifier = ClassifierServicer(self._data_plane, self.models, self._guard)
        admin = AdminServicer(self.models, self._guard, allowed=self._settings.allow_admin)
        server = grpcio_transport.build(self._settings, classifier, admin, self.health.servicer, shared=shared)
        wanted, lacks = self._settings.transport, _lacking_in_native(self._settings)
        if wanted == "native" and lacks:
            raise SettingsError(f"--transport native {lacks} or use grpcio")
        if wanted == "grpcio" or lacks:
            return GrpcioTransport(self._settings, server, shared=shared)
        try:
            from service.api.native_transport import NativeTransport
        except ImportError as error:
            if wanted == "auto":
                return GrpcioTransport(self._settings, server, shared=shared)
            raise SettingsError(f"--transport native needs the package pygrpc-native: {error}") from error
        return NativeTransport(self._settings, self._data_plane, self._guard, server, shared=shared)

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains; a second signal ends it at once.

        Raises SettingsError when the first look at the repository finds a start-up mistake, and RuntimesLost where a
        worker has lost all that it served: its siblings answer, and its parent starts it again.
        """
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            self._stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, interrupt)
        await self.start()
        await self._stopping.wait()
        await self.stop()
        if self._failure is not None:
            raise self._failure

    async def start(self) -> None:
        """Opens the ports and begins to load."""
        self._http.start()
        if self._grpc is not None:
            await self._listen(self._grpc)
        self._heart = asyncio.create_task(self._heartbeat())
        self._watching = asyncio.create_task(self._watch())

    async def _listen(self, transport: "GrpcioTransport | NativeTransport") -> None:
        await transport.start()
        http = {} if self._is_shared else {"http_port": self.metrics_port}
        log.info("listening", extra={"grpc_port": self.port, **http, "transport": transport.name})

    async def stop(self) -> None:
        """Drains and stops: every call that was accepted is answered."""
        log.info("draining", extra={"delay": self._settings.drain_delay, "timeout": self._settings.drain_timeout})
        self._stopping.set()
        self._watching.cancel()
        await self.models.stop_loading()
        if self._joining is not None:
            await self._joining
        self.health.drain(self.models)
        if self._failure is None:
            await asyncio.sleep(self._settings.drain_delay)
        latest = time.monotonic() + self._settings.drain_timeout
        await self._guard.close(self._settings.drain_timeout)
        self.health.end()
        if self._grpc is not None:
            await self._grpc.stop(max(0.0, latest - time.monotonic()))
        await self._loader.close()
        await self.models.close()
        self._data_plane.close()
        self._http.stop()
        self._heart.cancel()
        log.info("stopped")

    async def _watch(self) -> None:
        try:
            await repository.watch(self._loader.scan, self._settings.poll_interval, self._reconcile)
        except Exception as failure:
            self._fail(failure)

    async def _reconcile(self, found: Sequence[repository.PublishedModel]) -> None:
        self._seen = frozenset(model.name for model in found)
        self._changed()
        await self.models.reconcile(found)
        self._scanned = True
        self._loader.started()
        self._changed()

    async def _join(self) -> None:
        """Listens beside the other workers."""
        try:
            self._grpc = self._transport()
            await self._listen(self._grpc)
        except Exception as failure:
            self._fail(failure)

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self._stopping.set()

    async def _heartbeat(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _changed(self) -> None:
        self.health.update(self.models, scanned=self._scanned)
        lost = self.health.lost()
        if self._is_shared and lost and not self._stopping.is_set():
            self._fail(RuntimesLost(lost))
        if self._awaits is None or self._seen is None or self._joining is not None or self._stopping.is_set():
            return
        if self._unsure and not self._scanned:
            return
        if all(self.models.complete(name) for name in self._awaits & self._seen):
            self._joining = asyncio.get_running_loop().create_task(self._join())

    def _dead(self) -> str | None:
        """Why the process should be replaced, or None. A worker that has lost its runtimes ends by itself."""
        silent = time.monotonic() - self._beat
        if silent > STUCK_SECONDS:
            return f"the event loop has not moved for {silent:.0f} s"
        return None if self._is_shared else self.health.lost()


def _lacking_in_native(settings: Settings) -> str:
    """What the settings ask for that the native transport can't do, with the remedy; empty where there is nothing."""
    if tls.wanted(settings):
        return "has no TLS; drop the --tls flags"
    if settings.max_connection_age > 0:
        return "can't age connections; drop --max-connection-age"
    return ""
