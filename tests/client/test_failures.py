"""What goes wrong with a server: retries, deadlines, closing, and the error that each ends in; on both clients."""

import asyncio
import pickle
import socket

import grpc
import pytest
from authorities import asking, ca
from canned import MEBIBYTE, Running
from google.protobuf import any_pb2
from prometheus_client import CollectorRegistry

import convoy
from protos.classifier.v1 import classifier_pb2 as pb
from protos.rpc.v1.status_pb2 import Status
from service.client import errors, knock, tls
from service.telemetry.http import HttpServer

Code = grpc.StatusCode


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.CANCELLED])
async def test_what_the_server_did_not_take_is_tried_again(client, canned, code):
    canned.failures.extend([(code, "starting")] * 2)
    answer = await client.classify(b"a rose", model="flowers")
    assert (answer.best.label, len(canned.requests)) == ("a rose", 3)


async def test_a_large_call_is_tried_again_too(client, canned):
    canned.failures.append((Code.UNAVAILABLE, "starting"))
    (answer,) = await client.classify_many([b"large".ljust(8 * MEBIBYTE)], model="flowers")
    assert (answer.best.label[:5], len(canned.requests)) == ("large", 2)


async def test_a_server_that_stays_unavailable_is_told_after_five_attempts(client, server, canned):
    canned.failures.extend([(Code.UNAVAILABLE, "model 'flowers' is LOADING")] * 9)
    said = "unavailable: model 'flowers' is LOADING; `convoy models --server .*` shows the versions' states$"
    with pytest.raises(convoy.ServerUnavailable, match=said) as caught:
        await client.classify(b"a rose", model="flowers")
    assert len(canned.requests) == 5
    assert caught.value.server == server.address
    assert server.address in str(caught.value)
    assert isinstance(caught.value.__cause__, grpc.RpcError)


async def test_nobody_at_the_address(connect, nobody):
    with pytest.raises(convoy.ServerUnavailable, match="can't be reached") as failed:
        await connect(nobody).list_models()
    problem = "can't be reached: nothing listens there; check the address and that the server runs"
    assert str(failed.value) == f"server {nobody}: {problem}"


async def test_a_name_that_nobody_knows(connect):
    with pytest.raises(convoy.ServerUnavailable, match="can't be reached: its name is not known; check the address"):
        await connect("nobody.invalid:1").list_models(timeout=20)


@pytest.mark.parametrize(
    ("details", "why"),
    [
        (
            "failed to connect to all addresses; last error: FAILED_PRECONDITION: unix:/x: No such file or directory",
            "nothing listens there",
        ),
        ("failed to connect to all addresses; last error: INTERNAL: ipv4:127.0.0.1:1: Tls handshake failed", "the TLS"),
        ("Stream removed (recvmsg:Connection reset by peer (104))", "the connection broke"),
        ("Stream removed (GOAWAY received; Error code: 2; Debug Text: )", "the connection broke"),
        ("UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed", "the connection broke"),
        ("Socket closed", "the connection broke"),
        ("keepalive watchdog timeout", "the connection broke"),
    ],
)
def test_what_grpc_says_where_it_did_not_reach_a_server(details, why):
    assert errors.unreached(details, "unix:/x").startswith(f"can't be reached: {why}")


@pytest.mark.parametrize(
    "details",
    [
        "model 'flowers' version 1 is UNAVAILABLE: golden/x can't be read: No such file or directory",
        "model 'flowers' version 1 is UNAVAILABLE: model.onnx can't be read: Connection reset by peer",
        "model 'keepalive' is not ready",
    ],
)
async def test_the_server_s_own_sentence_is_kept_whatever_it_holds(client, canned, details):
    canned.failures.extend([(Code.UNAVAILABLE, details)] * 9)
    with pytest.raises(convoy.ServerUnavailable) as failed:
        await client.classify(b"a rose", model="flowers")
    assert details in str(failed.value)
    assert "can't be reached" not in str(failed.value)


async def test_waiting_for_a_server_ends_with_the_deadline_and_not_with_the_retries(connect, nobody):
    with pytest.raises(convoy.DeadlineExceeded, match=r"no answer within 2\.5 s"):
        await connect(nobody, wait_for_ready=True).list_models(timeout=2.5)


async def test_a_restarted_server_is_found_again_by_the_same_client(connect, canned):
    with Running(canned) as first:
        client = connect(first.address)
        await client.classify(b"before", model="flowers")
    port = int(first.address.rpartition(":")[2])
    with Running(canned, port=port):
        answer = await client.classify(b"after", model="flowers")
    assert answer.best.label == "after"


@pytest.mark.parametrize("terms", [{"timeout": 0.2}, {}])
async def test_a_slow_server_meets_the_deadline(connect, server, canned, terms):
    canned.gate.clear()
    client = connect(server.address, **terms)
    call = {} if terms else {"timeout": 0.2}
    with pytest.raises(convoy.DeadlineExceeded, match=r"no answer within 0\.2 s"):
        await client.classify(b"a rose", model="flowers", **call)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.INVALID_ARGUMENT, convoy.InvalidRequest),
        (Code.NOT_FOUND, convoy.ModelNotFound),
        (Code.RESOURCE_EXHAUSTED, convoy.Overloaded),
        (Code.DEADLINE_EXCEEDED, convoy.DeadlineExceeded),
        (Code.FAILED_PRECONDITION, convoy.ModelUnusable),
        (Code.UNAUTHENTICATED, convoy.AccessDenied),
        (Code.PERMISSION_DENIED, convoy.AccessDenied),
        (Code.INTERNAL, convoy.ServerFailed),
        (Code.UNKNOWN, convoy.ServerFailed),
        (Code.DATA_LOSS, convoy.ServerFailed),
    ],
)
async def test_each_code_is_an_error_of_its_own_and_is_not_tried_again(client, server, canned, code, kind):
    canned.failures.append((code, "the server's own words"))
    with pytest.raises(convoy.CallFailed) as caught:
        await client.classify(b"a rose", model="flowers")
    assert type(caught.value) is kind
    assert caught.value.server == server.address
    assert kind is convoy.DeadlineExceeded or "the server's own words" in str(caught.value)
    assert caught.value.__cause__.code() is code
    assert len(canned.requests) == 1


def test_no_code_is_without_an_error():
    class Failed(grpc.RpcError):
        def code(self):
            return self.args[0]

        def details(self):
            return None

        def trailing_metadata(self):
            return None

    for code in Code:
        error = errors.from_rpc(Failed(code), "here:1", 1.0)
        assert "{" not in str(error), code


class Full(grpc.RpcError):
    """The refusal of a full queue, with this in its trailing metadata."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self._metadata = metadata

    def code(self) -> grpc.StatusCode:
        return Code.RESOURCE_EXHAUSTED

    def details(self) -> str:
        return "the queue is full"

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata


def status_with(*details: any_pb2.Any) -> tuple[str, bytes]:
    return ("grpc-status-details-bin", Status(code=8, details=details).SerializeToString())


OTHER = any_pb2.Any(type_url="type.googleapis.com/google.rpc.Help", value=b"\x0a\x00")
RETRY = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\x0a\x07\x08\x01\x10\x80\xe5\x9a\x77")


@pytest.mark.parametrize(
    ("metadata", "seconds"),
    [
        ([("date", "today"), status_with(OTHER, RETRY)], 1.25),
        ([status_with(OTHER)], None),
        ([("grpc-status-details-bin", b"\xff")], None),
        ([], None),
    ],
)
def test_an_overloaded_server_tells_when_to_try_again(metadata, seconds):
    error = errors.from_rpc(Full(*metadata), "here:1", 1.0)
    assert isinstance(error, convoy.Overloaded)
    assert error.retry_after == seconds


async def test_a_client_of_jobs_says_so(connect, server, canned):
    for terms in ({}, {"priority": "interactive"}, {"priority": "batch"}):
        client = connect(server.address, **terms)
        await client.classify(b"a rose", model="flowers")
        await client.classify_many([b"a rose"], model="flowers")
    unset, batch = pb.ClassifyRequest.PRIORITY_UNSPECIFIED, pb.ClassifyRequest.BATCH
    assert [request.priority for request in canned.requests] == [unset] * 4 + [batch] * 2


async def test_a_call_s_priority_goes_before_the_client_s(connect, server, canned):
    for own, other in (("interactive", "batch"), ("batch", "interactive")):
        client = connect(server.address, priority=own)
        await client.classify(b"a rose", model="flowers", priority=other)
        await client.classify_many([b"a rose"], model="flowers", priority=other)
    unset, batch = pb.ClassifyRequest.PRIORITY_UNSPECIFIED, pb.ClassifyRequest.BATCH
    assert [request.priority for request in canned.requests] == [batch] * 2 + [unset] * 2


async def test_a_priority_that_is_not_known_is_a_mistake(connect):
    with pytest.raises(ValueError, match="priority is 'urgent', it must be one of interactive, batch"):
        convoy.Client("here:1", priority="urgent")
    with pytest.raises(ValueError, match="priority is 'urgent', it must be one of interactive, batch"):
        await connect("here:1").classify(b"a rose", model="flowers", priority="urgent")


async def test_a_call_that_fails_ends_the_many_with_its_error_and_the_others_are_cancelled(client, canned):
    canned.failures.append((Code.INTERNAL, "broken"))
    images = [str(n).encode() for n in range(20)]
    with pytest.raises(convoy.ServerFailed, match="broken"):
        await client.classify_many(images, model="flowers", images_per_call=1, calls_in_flight=1)
    assert len(canned.requests) == 1


async def test_something_else_at_the_address(connect):
    with Running(None) as server, pytest.raises(convoy.WrongServer, match="not as a Convoy classifier"):
        await connect(server.address).list_models()


WRONG = "answers, but not as a Convoy classifier (it speaks no gRPC, or only with TLS); check the address"


@pytest.fixture
def metrics_port():
    http = HttpServer("127.0.0.1", 0, CollectorRegistry(), live=lambda: None, ready=lambda: None)
    http.start()
    yield http.port
    http.stop()


async def test_a_port_that_speaks_http_is_told_alike_by_every_call(connect, metrics_port):
    """Of localhost the other address refuses, and which of the two gRPC tells of is chance."""
    client = connect(f"localhost:{metrics_port}")
    for call in (
        client.list_models(),
        client.classify_many([b"a rose"], model="flowers"),
        client.set_version_label("flowers", "stable", 1),
    ):
        with pytest.raises(convoy.WrongServer) as failed:
            await call
        assert str(failed.value) == f"server localhost:{metrics_port}: {WRONG}"


def test_what_answers_is_asked_where_another_address_refuses(metrics_port):
    refused = "Failed to connect to remote host: Connection refused"
    details = f"connections to all backends failing; last error: UNKNOWN: ipv6:%5B::1%5D:1: {refused}"
    assert errors.other_server(details, f"localhost:{metrics_port}") == WRONG
    assert errors.other_server(details, f"dns:///localhost:{metrics_port}") == WRONG
    with_tls = "failed to connect to all addresses; last error: INTERNAL: ipv4:127.0.0.1:1: Tls handshake failed"
    assert errors.other_server(with_tls, f"localhost:{metrics_port}") == ""
    assert errors.other_server("the store of model 'a': connection refused", f"localhost:{metrics_port}") == ""
    with Running(None) as server:
        assert errors.other_server(details, server.address) == ""
        assert errors.unreached(details, server.address, secure=True) == tls.NO_TLS
        assert "nothing listens there" in errors.unreached(details, server.address)
    assert "nothing listens there" in errors.unreached(details, f"localhost:{metrics_port}", secure=True)


def test_neither_silence_nor_nobody_is_another_server(nobody, monkeypatch):
    monkeypatch.setattr(knock, "SECONDS", 0.05)
    with socket.create_server(("localhost", 0)) as silent:
        for address in (f"localhost:{silent.getsockname()[1]}", nobody, "unix:/no/such", "nobody.invalid:1", "here"):
            assert not knock.speaks_no_grpc(address)


async def test_closing_ends_the_call_under_way(client, canned):
    canned.gate.clear()
    asked = asyncio.ensure_future(client.classify(b"a rose", model="flowers"))
    await asyncio.to_thread(canned.wait_for_calls, 1)
    await client.close()
    with pytest.raises(convoy.CallCancelled):
        await asked


async def test_closing_ends_the_many_under_way(client, canned):
    canned.gate.clear()
    asked = asyncio.ensure_future(client.classify_many([b"a", b"b"], model="flowers", images_per_call=1))
    await asyncio.to_thread(canned.wait_for_calls, 2)
    await client.close()
    with pytest.raises(convoy.CallCancelled):
        await asked


async def test_a_closed_client_says_so(client):
    await client.list_models()
    await client.close()
    with pytest.raises(convoy.CallCancelled, match="closed"):
        await client.list_models()
    with pytest.raises(convoy.CallCancelled, match="closed"):
        await client.classify_many([b"a"], model="flowers")


async def test_cancelling_the_task_is_not_an_error_of_the_call(server, canned):
    canned.gate.clear()
    async with convoy.AsyncClient(server.address) as client:
        asked = asyncio.ensure_future(client.classify(b"a rose", model="flowers"))
        await asyncio.to_thread(canned.wait_for_calls, 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"server": "localhost"}, "HOST:PORT"),
        ({"server": "http://localhost:8500"}, "without http://"),
        ({"timeout": 0}, "timeout is 0 seconds"),
        ({"timeout": float("nan")}, "timeout is nan seconds"),
        ({"max_message_bytes": 100}, "max_message_bytes is 100"),
        ({"root_certificates": ca("first"), "credentials": grpc.ssl_channel_credentials()}, "exclude each other"),
        ({"root_certificates": __file__}, "is not a file of certificates in PEM form"),
        ({"certificate_chain": ca("first")}, r"both certificate_chain and private_key \(--tls-cert and --tls-key\)"),
        (asking("first") | {"private_key": asking("second")["private_key"]}, "is not the private key of"),
    ],
)
@pytest.mark.parametrize("kind", [convoy.Client, convoy.AsyncClient])
def test_terms_that_cannot_be_used_are_told_at_once(kind, terms, words):
    with pytest.raises(ValueError, match=words):
        kind(**terms)


@pytest.mark.parametrize(
    "error",
    [
        convoy.ImageRejected("cat.jpg", "truncated", "INVALID_ARGUMENT"),
        convoy.Overloaded("here:1", "queue full"),
        convoy.Overloaded("here:1", "queue full", 0.25),
        convoy.CallCancelled("here:1"),
    ],
)
def test_errors_survive_pickling(error):
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
