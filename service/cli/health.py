"""`convoy health`: asks a server whether it serves, once, for container health checks and scripts.

Owns no state and retries nothing: whoever calls it decides how often. Exit code 0 means SERVING, 2 a mistake in the
options, 1 anything else.
"""

from typing import Annotated

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.cli.connection import Connection, TlsCa, TlsCert, TlsKey
from service.client.errors import other_server, unreached


def health(
    server: Annotated[str, typer.Option(help="HOST:PORT of the gRPC server.")] = "localhost:8500",
    service: Annotated[str, typer.Option(help="Name to ask for: empty for the whole server, or a model's name.")] = "",
    *,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the answer.")] = 5.0,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Asks the server's health and prints it: exit code 0 if it is SERVING, 1 if not or if nobody answers."""
    connection = Connection(server, timeout, tls_ca, tls_cert, tls_key)
    try:
        status = check(connection, service)
    except ValueError as error:
        typer.echo(f"convoy health: {error}", err=True)
        raise typer.Exit(2) from error
    except grpc.RpcError as error:
        typer.echo(f"{server} {_failure(error, connection, service)}", err=True)
        raise typer.Exit(1) from None
    typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(1)


def check(connection: Connection, service: str) -> str:
    """The status's name as grpc.health.v1 has it. Raises grpc.RpcError, or ValueError for files of TLS."""
    secure, server = connection.credentials(), connection.server
    with grpc.secure_channel(server, secure) if secure else grpc.insecure_channel(server) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=connection.timeout)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def _failure(error: grpc.RpcError, connection: Connection, service: str) -> str:
    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            return f"knows no health of {service!r}; `convoy models` lists what it serves"
        case grpc.StatusCode.UNIMPLEMENTED:
            return "answers, but has no grpc.health.v1 service"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"did not answer within {connection.timeout:g} s"
        case grpc.StatusCode.UNAVAILABLE:
            details, server, secure = error.details() or "no details", connection.server, connection.secure
            why = other_server(details, server, secure=secure) or unreached(details, server, secure=secure)
            return why or f"is unavailable: {details}"
        case code:
            return f"answered {code.name}: {error.details()}"
