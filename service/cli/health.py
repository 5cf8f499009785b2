"""`convoy health`: asks a server whether it serves, once, for container health checks and scripts.

Owns no state and retries nothing: whoever calls it decides how often. Exit code 0 means SERVING, 1 anything else.
"""

from typing import Annotated

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.client.errors import other_server, unreached


def health(
    server: Annotated[str, typer.Option(help="HOST:PORT of the gRPC server.")] = "localhost:8500",
    service: Annotated[str, typer.Option(help="Name to ask for: empty for the whole server, or a model's name.")] = "",
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the answer.")] = 5.0,
) -> None:
    """Asks the server's health and prints it: exit code 0 if it is SERVING, 1 if not or if nobody answers."""
    try:
        status = check(server, service, timeout)
    except grpc.RpcError as error:
        typer.echo(f"{server} {_failure(error, server, service, timeout)}", err=True)
        raise typer.Exit(1) from None
    typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(1)


def check(server: str, service: str, timeout: float) -> str:
    """The status's name as grpc.health.v1 has it, after at most `timeout` seconds. Raises grpc.RpcError."""
    with grpc.insecure_channel(server) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def _failure(error: grpc.RpcError, server: str, service: str, timeout: float) -> str:
    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            return f"knows no health of {service!r}; `convoy models` lists what it serves"
        case grpc.StatusCode.UNIMPLEMENTED:
            return "answers, but has no grpc.health.v1 service"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"did not answer within {timeout:g} s"
        case grpc.StatusCode.UNAVAILABLE:
            details = error.details() or "no details"
            return other_server(details, server) or unreached(details) or f"is unavailable: {details}"
        case code:
            return f"answered {code.name}: {error.details()}"
