"""The load generators against real servers: they count what a gRPC client library counts, and what the server sent."""

import asyncio
import itertools
import threading
from collections import Counter
from concurrent import futures

import grpc
import numpy as np
import pytest
from bundles import encode

from benchmarks.arrivals import arrive, poisson
from benchmarks.caller import latencies
from benchmarks.serving import METHOD
from protos.classifier.v1 import classifier_pb2 as pb

OK, REFUSED, EXPIRED = (
    code.value[0]
    for code in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
)
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
IN_TIME = 60.0
IN_FLIGHT = 12


@pytest.fixture
def scripted():
    """Starts a server with this behaviour for the calls of `METHOD`, and gives its address."""
    servers = []

    def start(behaviour) -> str:
        server = grpc.server(futures.ThreadPoolExecutor(32))
        _, service, name = METHOD.split("/")
        handler = grpc.unary_unary_rpc_method_handler(behaviour)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(0).wait()


def test_both_generators_count_the_same(scripted):
    address = scripted(_Script())
    due = poisson(rate=400, seconds=0.5)
    outcomes, seconds, cpu = arrive(address, METHOD, b"request", due, deadline=2)
    assert _counts(outcomes) == _by_grpcio(address, due, timeout=2) == {OK: 138, REFUSED: 60, EXPIRED: 2}
    assert 0 < cpu <= seconds
    latencies, codes, lateness = outcomes.T
    assert (lateness >= 0).all()
    assert (latencies >= lateness).all()
    assert (latencies[codes == EXPIRED] >= 2000).all()
    assert (latencies[codes != EXPIRED] < 2000).all()


def test_messages_and_answers_larger_than_any_window_go_through(scripted):
    address = scripted(lambda request, _: request)
    message = bytes(3 << 20)
    outcomes, _, _ = arrive(address, METHOD, message, np.zeros(24), deadline=IN_TIME)
    assert _counts(outcomes) == {OK: 24}


async def test_each_transport_s_answers_are_counted(asked):
    request = _request()
    assert await _arrived(asked, request) == {OK: 40}
    assert asked.calls("OK") == 40
    request.model.name = "unknown"
    assert await _arrived(asked, request) == {NOT_FOUND: 40}
    assert asked.calls("NOT_FOUND") == 40


@pytest.mark.parametrize("options", [{"max_message_mb": 1}])
async def test_calls_that_are_refused_before_they_are_sent_whole_end_once(asked):
    request = _request(bytes(3 << 20))
    assert await _arrived(asked, request) == {REFUSED: 40}


async def test_the_closed_loop_counts_what_was_answered_until_its_end(asked):
    request = _request()
    found = await _called(asked, request)
    assert asked.calls("OK") - IN_FLIGHT <= len(found) <= asked.calls("OK")
    assert all(latency > 0 for latency in found)
    request.model.name = "unknown"
    with pytest.raises(RuntimeError, match=f"code {NOT_FOUND}"):
        await _called(asked, request)


def test_a_port_where_nothing_speaks_grpc_is_an_error():
    with pytest.raises(OSError, match="refused"):
        arrive("127.0.0.1:1", METHOD, b"", np.zeros(1), deadline=1)


class _Script:
    """Call by call: the sixth, seventh and eighth of ten are refused, the first and the eleventh of all hang."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __call__(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            number = next(self._numbers) % 200
        if number in {0, 10}:
            over = threading.Event()
            context.add_callback(over.set)
            over.wait()
        if number % 10 in {5, 6, 7}:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"refused with a sentence of its own, {number}")
        return request * 100


def _by_grpcio(address: str, due: np.ndarray, timeout: float) -> Counter[int]:
    """The same calls by grpcio's own client, at once: arrival times change nothing in the script."""
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary(METHOD)
        calls = [method.future(b"request", timeout=timeout) for _ in due]
        return Counter(call.code().value[0] for call in calls)


async def _arrived(asked, request: pb.ClassifyRequest) -> Counter[int]:
    address = f"127.0.0.1:{asked.server.port}"
    due = poisson(rate=400, seconds=0.1)
    outcomes, _, _ = await asyncio.to_thread(arrive, address, METHOD, request.SerializeToString(), due, IN_TIME)
    return _counts(outcomes)


async def _called(asked, request: pb.ClassifyRequest) -> list[float]:
    address = f"127.0.0.1:{asked.server.port}"
    return await asyncio.to_thread(latencies, address, IN_FLIGHT, 0.2, METHOD, request.SerializeToString())


def _counts(outcomes: np.ndarray) -> Counter[int]:
    return Counter(outcomes[:, 1].astype(int).tolist())


def _request(picture: bytes | None = None) -> pb.ClassifyRequest:
    images = [picture or encode(np.zeros((8, 8, 1), np.uint8))]
    return pb.ClassifyRequest(model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=images)])
