"""`convoy health` against real gRPC servers: its exit code is what a container's health check goes by."""

import socket
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
import typer
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from service.cli.health import health
from service.telemetry.http import HttpServer

STATUS = health_pb2.HealthCheckResponse


def ask(server: str, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(health)
    return CliRunner().invoke(app, ["--server", server, *arguments])


@pytest.fixture
def bare() -> Iterator[tuple[str, grpc.Server]]:
    """A gRPC server without any service, and its address."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}", server
    server.stop(None).wait()


@pytest.fixture
def healthy() -> Iterator[tuple[str, grpc_health.HealthServicer]]:
    """A gRPC server with the health service, and its address."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    servicer = grpc_health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}", servicer
    server.stop(None).wait()


def test_serving_is_exit_code_0(healthy):
    address, servicer = healthy
    servicer.set("", STATUS.SERVING)
    answer = ask(address)
    assert (answer.exit_code, answer.stdout) == (0, "SERVING\n")


def test_not_serving_is_exit_code_1(healthy):
    address, servicer = healthy
    servicer.set("", STATUS.NOT_SERVING)
    answer = ask(address)
    assert (answer.exit_code, answer.stdout) == (1, "NOT_SERVING\n")


def test_one_service_is_asked_by_name(healthy):
    address, servicer = healthy
    servicer.set("", STATUS.NOT_SERVING)
    servicer.set("digits", STATUS.SERVING)
    assert ask(address, "--service", "digits").exit_code == 0


def test_an_unknown_service_is_named(healthy):
    address, _ = healthy
    answer = ask(address, "--service", "letters")
    assert answer.exit_code == 1
    assert "knows no health of 'letters'" in answer.stderr


def test_a_server_without_health_service_is_told_apart(bare):
    address, _ = bare
    answer = ask(address)
    assert answer.exit_code == 1
    assert "has no grpc.health.v1 service" in answer.stderr


def test_nobody_there_is_one_sentence_with_the_address(bare):
    address, server = bare
    server.stop(None).wait()
    answer = ask(address)
    assert answer.exit_code == 1
    assert answer.stderr.startswith(f"{address} can't be reached")
    assert "Traceback" not in answer.output


def test_what_the_server_says_itself_is_told_in_its_words():
    details = "golden/x can't be read: No such file or directory"

    class Unavailable(health_pb2_grpc.HealthServicer):
        def Check(self, request, context):  # noqa: ARG002, N802 - the wire's names
            context.abort(grpc.StatusCode.UNAVAILABLE, details)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    health_pb2_grpc.add_HealthServicer_to_server(Unavailable(), server)
    address = f"localhost:{server.add_insecure_port('localhost:0')}"
    server.start()
    try:
        assert ask(address).stderr == f"{address} is unavailable: {details}\n"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_speaks_http_is_told_as_by_the_client(host):
    http = HttpServer("127.0.0.1", 0, CollectorRegistry(), live=lambda: None, ready=lambda: None)
    http.start()
    try:
        answer = ask(f"{host}:{http.port}")
    finally:
        http.stop()
    problem = "answers, but not as a Convoy classifier (it speaks no gRPC, or only with TLS); check the address"
    assert (answer.exit_code, answer.stderr) == (1, f"{host}:{http.port} {problem}\n")


def test_silence_ends_at_the_timeout():
    """A port that takes connections and never says a word must not hang the check."""
    with socket.create_server(("localhost", 0)) as silent:
        answer = ask(f"localhost:{silent.getsockname()[1]}", "--timeout", "0.2")
    assert answer.exit_code == 1
    assert "did not answer within 0.2 s" in answer.stderr
