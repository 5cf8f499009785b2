"""ClassifyStream: answers matched by id, errors in place, flow control, and how a stream ends."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from bundles import encode
from expected import scores
from servers import LOCALHOST, Asked, Gate, held, until

from protos.classifier.v1 import classifier_pb2 as pb
from protos.classifier.v1 import classifier_pb2_grpc
from service.api.stream import PLACES

PICTURES = [encode(each) for each in np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)]
STOPPING = ("UNAVAILABLE", "the server is stopping; ask another one")


def request(number: int, **others: Any) -> pb.ClassifyRequest:
    """A request about the number's picture."""
    usual: dict[str, Any] = {
        "model": pb.ModelSpec(name="tiny"),
        "inputs": [pb.Input(images=[PICTURES[number % len(PICTURES)]])],
    }
    return pb.ClassifyRequest(id=number, **(usual | others))


def tensor(number: int) -> pb.ClassifyRequest:
    """A request that needs no decoding."""
    data = np.full((1, 8, 8, 3), number % 256, np.uint8).tobytes()
    return request(number, inputs=[pb.Input(tensor=pb.Tensor(dtype="uint8", shape=[1, 8, 8, 3], data=data))])


def stream(asked: Asked, **terms: Any) -> "grpc.aio.StreamStreamCall[pb.ClassifyRequest, pb.ClassifyResponse]":
    return classifier_pb2_grpc.ClassifierStub(asked.channel).ClassifyStream(**terms)


async def send(call: Any, requests: Iterable[pb.ClassifyRequest]) -> None:
    for each in requests:
        await call.write(each)


async def read(call: Any, count: int) -> dict[int, pb.ClassifyResponse]:
    """The next so many answers by id; fails where an id comes twice."""
    answers: dict[int, pb.ClassifyResponse] = {}
    while len(answers) < count:
        answer = await call.read()
        assert answer is not grpc.aio.EOF, (await call.code(), await call.details())
        assert answer.id not in answers
        answers[answer.id] = answer
    return answers


async def ended(call: Any) -> tuple[str, str]:
    """How the stream ends, after its last answer."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        assert await call.read() is grpc.aio.EOF
    return (await call.code()).name, await call.details()


def best(answer: pb.ClassifyResponse) -> list[float]:
    return [result.classifications[0].classes[0].score for result in answer.results]


async def test_every_answer_is_that_of_its_id(asked, tiny):
    call, wanted = stream(asked), scores(tiny, PICTURES).max(axis=1)
    numbers = range(1, 5 * PLACES)
    sending = asyncio.create_task(send(call, map(request, numbers)))
    answers = await read(call, len(numbers))
    await sending
    await call.done_writing()
    assert await ended(call) == ("OK", "")
    for number, answer in answers.items():
        assert best(answer) == pytest.approx([wanted[number % len(PICTURES)]], abs=1e-6)
        assert (answer.model.version, answer.HasField("error")) == (1, False)
    assert asked.calls("OK", "ClassifyStream") == len(numbers)
    assert asked.of_tiny("convoy_pending_images") == 0


async def test_answers_come_as_they_are_ready_and_not_in_order(asked):
    """A bad request is answered while the good one before it is held."""
    with held(asked.server) as gate:
        call = stream(asked)
        await call.write(tensor(1))
        await gate.reached()
        await call.write(request(2, model=pb.ModelSpec(name="other")))
        assert list(await read(call, 1)) == [2]
        gate.open()
        assert list(await read(call, 1)) == [1]
        await call.done_writing()
        assert await ended(call) == ("OK", "")


async def test_a_request_that_fails_is_an_answer_and_the_stream_goes_on(asked):
    call = stream(asked)
    await send(
        call,
        [
            request(1, model=pb.ModelSpec(name="other")),
            request(2, inputs=[]),
            request(3, top_k=-1),
            request(4, inputs=[pb.Input(images=[PICTURES[0], b"no picture"])]),
            request(5),
        ],
    )
    answers = await read(call, 5)
    assert [answers[number].error.code for number in range(1, 6)] == [5, 3, 3, 0, 0]
    assert answers[1].error.message == "model 'other' is not in the repository; it holds: tiny"
    assert [len(answers[number].results) for number in range(1, 6)] == [0, 0, 0, 2, 1]
    assert answers[4].results[1].error.code == 3
    await call.done_writing()
    assert await ended(call) == ("OK", "")
    codes = ("OK", "INVALID_ARGUMENT", "NOT_FOUND")
    assert [asked.calls(code, "ClassifyStream") for code in codes] == [2, 2, 1]


FULL = [{"max_pending": 1}, {"max_pending_mb": 1, "max_images_per_call": 5000}]
LARGE = 3000  # pictures, of which two times so many are over a MiB


def filling(options: dict[str, Any], number: int) -> pb.ClassifyRequest:
    """A request beside which there is no room for another one."""
    if "max_pending" in options:
        return tensor(number)
    shape = (LARGE, 8, 8, 3)
    data = bytes(LARGE * 8 * 8 * 3)
    return request(number, inputs=[pb.Input(tensor=pb.Tensor(dtype="uint8", shape=shape, data=data))])


@pytest.mark.parametrize("options", FULL)
async def test_a_full_server_is_told_to_a_stream_that_has_nothing_else_in_work(asked, options):
    with held(asked.server) as gate:
        other = asyncio.ensure_future(asked.stub.Classify(filling(options, 1)))
        await until(lambda: asked.of_tiny("convoy_pending_images"))
        call = stream(asked)
        await call.write(filling(options, 2))
        [(number, refused)] = (await read(call, 1)).items()
        assert (number, refused.error.code) == (2, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        gate.open()
        assert (await other).results
        call.cancel()


@pytest.mark.parametrize("options", FULL)
async def test_a_stream_that_fills_the_server_by_itself_is_held_back_and_not_refused(asked, options):
    numbers = range(1, 31)
    call = stream(asked)
    sending = asyncio.create_task(send(call, (filling(options, number) for number in numbers)))
    answers = await read(call, len(numbers))
    await sending
    assert [answers[number].error.message for number in numbers] == [""] * len(numbers)
    await call.done_writing()
    assert await ended(call) == ("OK", "")


async def held_back(asked: Asked, options: dict[str, Any], gate: Gate) -> Any:
    """A stream with one request in work and one that was read and waits for room."""
    call = stream(asked)
    await send(call, [filling(options, 1), filling(options, 2)])
    await gate.reached()
    await until(lambda: asked.server._guard._running == 2)
    return call


@pytest.mark.parametrize("options", FULL)
async def test_what_waits_for_room_is_answered_by_a_server_that_stops(asked, options):
    with held(asked.server) as gate:
        call = await held_back(asked, options, gate)
        stopping = asyncio.create_task(asked.server.stop())
        await asked.server._guard.closing.wait()
        gate.open()
        answers = await read(call, 2)
        assert [answers[number].error.message for number in (1, 2)] == ["", ""]
        assert await ended(call) == STOPPING
    await stopping
    assert asked.calls("OK", "ClassifyStream") == 2


@pytest.mark.parametrize("options", FULL)
async def test_what_waits_for_room_goes_with_its_client(asked, options):
    with held(asked.server) as gate:
        call = await held_back(asked, options, gate)
        call.cancel()
        await until(lambda: asked.server._guard._running == 0)
        gate.open()
        assert (await asked.stub.Classify(filling(options, 3))).results
    assert asked.calls("CANCELLED", "ClassifyStream") == 2


async def test_a_unary_answer_has_its_id_too(asked):
    for number in (0, 1, 127, 128, 2**64 - 1):
        assert (await asked.stub.Classify(request(number))).id == number


async def test_only_so_many_requests_are_read_as_there_are_places(asked):
    """A client that only sends is held back: by far not all of its bytes fit into what gRPC buffers on the way."""
    padding = bytes(1 << 20)
    count, written = 4 * PLACES, 0

    async def pour(call: Any) -> None:
        nonlocal written
        for number in range(1, count + 1):
            await call.write(request(number, inputs=[pb.Input(images=[PICTURES[0] + padding])]))
            written += 1
        await call.done_writing()

    with held(asked.server) as gate:
        call = stream(asked)
        pouring = asyncio.create_task(pour(call))
        await until(lambda: asked.of_tiny("convoy_pending_images") == PLACES)
        seen = -1
        while written > seen:  # until it has stood still for a while: were it not held back, it would go on to the end
            seen = written
            await asyncio.sleep(0.5)
        assert PLACES <= written < count // 2
        assert asked.of_tiny("convoy_pending_images") == PLACES
        gate.open()
        assert sorted(await read(call, count)) == list(range(1, count + 1))
        await pouring
    assert await ended(call) == ("OK", "")


async def test_a_client_that_does_not_take_its_answers_is_not_read_either(asked):
    """Answers that nobody takes fill the client's window; then the server stops reading."""
    top = pb.Input(images=[b""] * 1000)  # a thousand errors: an answer of some 50 kB to a request of 2 kB
    call = stream(asked)
    written, count = 0, 20 * PLACES

    async def pour() -> None:
        nonlocal written
        for number in range(1, count + 1):
            await call.write(request(number, inputs=[top]))
            written += 1

    pouring = asyncio.create_task(pour())
    await until(lambda: asked.calls("OK", "ClassifyStream") >= PLACES)
    seen = -1.0
    while asked.calls("OK", "ClassifyStream") > seen:
        seen = asked.calls("OK", "ClassifyStream")
        await asyncio.sleep(0.5)
    assert seen < count
    assert sorted(await read(call, count)) == list(range(1, count + 1))
    await pouring
    await call.done_writing()
    assert await ended(call) == ("OK", "")


async def test_after_the_half_close_the_rest_is_answered(asked):
    with held(asked.server) as gate:
        call = stream(asked)
        await send(call, map(tensor, range(1, 11)))
        await call.done_writing()
        await gate.reached()
        await until(lambda: asked.of_tiny("convoy_pending_images") == 10)
        gate.open()
        assert sorted(await read(call, 10)) == list(range(1, 11))
        assert await ended(call) == ("OK", "")


async def test_a_stream_without_a_request_ends_well(asked):
    call = stream(asked)
    await call.done_writing()
    assert await ended(call) == ("OK", "")


async def test_a_client_that_leaves_stops_the_work(asked):
    with held(asked.server) as gate:
        call = stream(asked)
        await send(call, map(tensor, range(1, 11)))
        await gate.reached()
        await until(lambda: asked.of_tiny("convoy_pending_images") == 10)
        call.cancel()
        await until(lambda: asked.of_tiny("convoy_pending_images") == 0)
        gate.open()
        assert len((await asked.classify(PICTURES[0])).results) == 1
        assert sum(gate.rows) <= 2 * 10
        assert len(gate.rows) == 2  # what ran already, and the call afterwards: the queue was left unexecuted
    assert asked.calls("CANCELLED", "ClassifyStream") == 10


async def test_a_deadline_is_the_whole_stream_s(asked):
    with held(asked.server) as gate:
        call = stream(asked, timeout=0.2)
        await call.write(tensor(1))
        await gate.reached()
        assert (await ended(call))[0] == "DEADLINE_EXCEEDED"
        await until(lambda: asked.of_tiny("convoy_pending_images") == 0)
        gate.open()


async def test_a_message_that_is_no_request_ends_the_stream_after_the_answers(asked):
    call = asked.channel.stream_stream("/convoy.classifier.v1.Classifier/ClassifyStream")()
    await call.write(request(7).SerializeToString())
    await call.write(b"\xff\xff\xff")
    assert pb.ClassifyResponse.FromString(await call.read()).id == 7
    assert await ended(call) == ("INVALID_ARGUMENT", "a message of the stream is not a ClassifyRequest")


async def test_a_server_that_stops_answers_what_it_read_and_ends_the_stream(asked):
    with held(asked.server) as gate:
        call, idle = stream(asked), stream(asked)
        await send(call, map(tensor, range(1, 11)))
        await send(idle, [request(1, model=pb.ModelSpec(name="other"))])
        await read(idle, 1)
        await gate.reached()
        await until(lambda: asked.of_tiny("convoy_pending_images") == 10)
        stopping = asyncio.create_task(asked.server.stop())
        assert await ended(idle) == STOPPING
        gate.open()
        assert sorted(await read(call, 10)) == list(range(1, 11))
        assert await ended(call) == STOPPING
    await stopping
    assert asked.calls("OK", "ClassifyStream") == 10


def pour(port: int) -> tuple[int, tuple[str, str]]:
    """Sends without end; how many answers came, none of them twice, and how the stream ended."""
    with grpc.insecure_channel(f"{LOCALHOST}:{port}") as channel:
        call = classifier_pb2_grpc.ClassifierStub(channel).ClassifyStream(map(tensor, itertools.count(1)))
        seen: set[int] = set()
        try:
            for answer in call:
                assert answer.id not in seen
                seen.add(answer.id)
        except grpc.RpcError:
            pass
        return len(seen), (call.code().name, call.details())


async def test_a_stop_under_load_gives_every_request_that_was_read_its_answer(asked):
    """Four clients send without end; they have received what the server counts as answered."""
    pouring = asyncio.gather(*(asyncio.to_thread(pour, asked.server.port) for _ in range(4)))
    await until(lambda: asked.calls("OK", "ClassifyStream") > 1000)
    await asked.server.stop()
    received = await pouring
    assert [how for _, how in received] == [STOPPING] * 4
    assert sum(count for count, _ in received) == asked.calls("OK", "ClassifyStream")
