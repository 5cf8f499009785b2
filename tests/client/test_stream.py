"""`classify_each` gives answers as they come, stops where the caller stops, and one client serves many threads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

import convoy

IMAGES = [str(n).encode() for n in range(20)]
ONE_BY_ONE = {"model": "flowers", "images_per_call": 1, "calls_in_flight": 2}


def test_answers_come_before_the_last_call_is_made(server, canned):
    with convoy.Client(server.address) as client:
        answers = client.classify_each(IMAGES, **ONE_BY_ONE)
        assert next(answers).best.label == "0"
        assert len(canned.requests) < len(IMAGES)
        assert [answer.best.label for answer in answers] == [str(n) for n in range(1, 20)]


async def test_answers_come_before_the_last_call_is_made_in_asyncio(server, canned):
    async with convoy.AsyncClient(server.address) as client:
        answers = client.classify_each(IMAGES, **ONE_BY_ONE)
        assert (await anext(answers)).best.label == "0"
        assert len(canned.requests) < len(IMAGES)
        assert [answer.best.label async for answer in answers] == [str(n) for n in range(1, 20)]


def test_the_answers_before_a_failed_call_are_given(server, canned):
    with convoy.Client(server.address) as client:
        answers = client.classify_each(IMAGES, model="flowers", images_per_call=1, calls_in_flight=1)
        assert [next(answers).best.label, next(answers).best.label] == ["0", "1"]
        canned.failures.append((grpc.StatusCode.INTERNAL, "broken"))
        with pytest.raises(convoy.ServerFailed):
            next(answers)


HELD = [b"first", b"held 1", b"held 2"]


@pytest.fixture
def held(canned):
    """The server answers the first of HELD and keeps the others until they are given up."""
    canned.held = "held"
    canned.gate.clear()
    return canned


def given_up(canned, count: int) -> bool:
    canned.wait_for_calls(len(HELD))
    return all(canned.ended.acquire(timeout=10) for _ in range(count))


def test_leaving_the_stream_cancels_what_is_under_way(server, held):
    with convoy.Client(server.address, timeout=60) as client:
        answers = client.classify_each(HELD, model="flowers", images_per_call=1, calls_in_flight=3)
        assert next(answers).best.label == "first"
        held.wait_for_calls(len(HELD))
        answers.close()
        assert given_up(held, 2)


async def test_leaving_the_stream_cancels_what_is_under_way_in_asyncio(server, held):
    async with convoy.AsyncClient(server.address, timeout=60) as client:
        answers = client.classify_each(HELD, model="flowers", images_per_call=1, calls_in_flight=3)
        assert (await anext(answers)).best.label == "first"
        await asyncio.to_thread(held.wait_for_calls, len(HELD))
        await answers.aclose()
        assert await asyncio.to_thread(given_up, held, 2)


async def test_a_file_that_vanishes_meanwhile_is_named(server, canned, tmp_path):
    path = tmp_path / "late.png"
    path.write_bytes(b"late")
    with convoy.Client(server.address) as client:
        answers = client.classify_each([b"first", path], model="flowers", images_per_call=1, calls_in_flight=1)
        next(answers)
        path.unlink()
        with pytest.raises(FileNotFoundError, match=r"late\.png"):
            next(answers)


def test_one_client_serves_many_threads(server):
    with convoy.Client(server.address) as client, ThreadPoolExecutor(8) as threads:
        images = [str(n).encode() for n in range(200)]
        answers = threads.map(lambda image: client.classify(image, model="flowers"), images)
        assert [answer.best.label for answer in answers] == [str(n) for n in range(200)]


async def test_one_async_client_serves_many_tasks(server):
    async with convoy.AsyncClient(server.address) as client:
        answers = await asyncio.gather(*(client.classify(str(n).encode(), model="flowers") for n in range(200)))
    assert [answer.best.label for answer in answers] == [str(n) for n in range(200)]


def test_an_async_client_can_be_made_before_the_event_loop(server):
    client = convoy.AsyncClient(server.address)

    async def ask():
        async with client:
            return await client.classify(b"a rose", model="flowers")

    assert asyncio.run(ask()).best.label == "a rose"
