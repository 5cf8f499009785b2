"""gRPC by grpcio's asyncio server: every option, every kind of call.

A transport takes the servicers as they are and gives a server with `start`, `stop(grace)` and a port.
"""

from collections.abc import Callable

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos.classifier.v1 import classifier_pb2_grpc
from service.api import admin, ports
from service.api.admin import AdminServicer
from service.api.classifier import SERVICE, ClassifierServicer, register
from service.api.health import HealthServicer
from service.config import MEBIBYTE, Settings


class GrpcioTransport:
    """A listening grpcio server, from `start` to `stop`."""

    name = "grpcio"

    def __init__(self, settings: Settings, server: grpc.aio.Server, *, shared: bool = False) -> None:
        """Listens. Raises SettingsError when the port can't be had.

        A `shared` port is one that other processes listen on too.
        """
        self._server = server
        if not shared:
            ports.check(settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            self.port = server.add_insecure_port(f"{host}:{settings.port}")
        except RuntimeError as error:
            raise ports.refused(settings.host, settings.port) from error

    async def start(self) -> None:
        """Answers calls from now on."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Takes no new calls, answers those that were taken within `grace` seconds, then closes."""
        await self._server.stop(grace)


def build(
    settings: Settings,
    classifier: ClassifierServicer,
    models: AdminServicer,
    health: HealthServicer,
    *,
    shared: bool = False,
) -> grpc.aio.Server:
    """A server with every servicer and no port yet; a `shared` one is one that other processes listen on too."""
    server = grpc.aio.server(options=_options(settings, shared=shared))
    register(classifier, server)
    classifier_pb2_grpc.add_ModelAdminServicer_to_server(models, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    names = (SERVICE, admin.SERVICE, _name(health_pb2, "Health"), reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server


def _options(settings: Settings, *, shared: bool) -> list[tuple[str, int]]:
    age = (
        [("grpc.max_connection_age_ms", round(settings.max_connection_age * 1e3))]
        if settings.max_connection_age
        else []
    )
    return [
        *age,
        ("grpc.max_receive_message_length", settings.max_message_mb * MEBIBYTE),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would share its connections at random: better an error at the second's start, unless
        # they are workers of one server.
        ("grpc.so_reuseport", int(shared)),
        # Clients may ping an idle connection this often without being told to go away.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _name(module: object, service: str) -> str:
    descriptor: Callable[..., object] = module.DESCRIPTOR.services_by_name[service]  # type: ignore[attr-defined]
    return str(descriptor.full_name)  # type: ignore[attr-defined]
