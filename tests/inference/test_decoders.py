"""Decoding threads serve calls in turns, and give back every part or its error."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from bundle.preprocessing import Limits
from service.inference.decoders import WORTH_BYTES, Decoders
from service.inference.decoding import Part, split

PLACES = 2  # of one thread
LARGE = {"image": [b"x" * WORTH_BYTES] * 20}
SMALL = {"image": [b"x"] * 20}


@contextmanager
def decoding(threads: int = 1) -> Iterator[Decoders]:
    decoders = Decoders(threads, Limits())
    try:
        yield decoders
    finally:
        decoders.close()


def asked(decoders: Decoders, line: object, inputs: dict, done: list) -> list[asyncio.Future[Part]]:
    """All pictures, each a part; `done` gets the line whenever one is back."""
    futures = [decoders.decode(line, inputs, {"image": None}, range(n, n + 1)) for n in range(len(inputs["image"]))]
    for future in futures:
        future.add_done_callback(lambda _: done.append(line))
    return futures


async def test_a_call_of_one_picture_waits_for_a_part_of_a_large_one_not_for_all():
    done: list[str] = []
    with decoding() as decoders:
        many = asked(decoders, "many", LARGE, done)
        await asyncio.sleep(0)
        one = asked(decoders, "one", {"image": [b"x"]}, done)
        await asyncio.gather(*many, *one)
    assert done.index("one") <= PLACES + 1


async def test_calls_take_turns():
    done: list[int] = []
    with decoding() as decoders:
        await asyncio.gather(*[future for line in range(5) for future in asked(decoders, line, LARGE, done)])
    assert done == list(range(5)) * 20


async def test_small_parts_come_back_whole_and_in_order():
    done: list[str] = []
    with decoding(threads=3) as decoders:
        parts = await asyncio.gather(*asked(decoders, "small", SMALL, done))
    assert [list(part.errors) for part in parts] == [[number] for number in range(20)]
    assert all(part.seconds > 0 for part in parts)


async def test_who_left_is_not_decoded_for():
    done: list[str] = []
    with decoding() as decoders:
        gone = asked(decoders, "gone", LARGE, done)
        for future in gone:
            future.cancel()
        (part,) = await asyncio.gather(*asked(decoders, "here", {"image": [b"x"]}, done))
    assert part.errors.keys() == {0}
    assert all(future.cancelled() for future in gone)


async def test_a_part_that_can_not_be_worked_on_fails_alone():
    with decoding() as decoders:
        bad = decoders.decode("bad", {"image": [b"x"]}, {}, range(1))
        good = decoders.decode("good", {"image": [b"x"]}, {"image": None}, range(1))
        assert (await good).errors.keys() == {0}
        with pytest.raises(KeyError):
            await bad


@pytest.mark.parametrize(
    ("count", "total_bytes", "sizes"),
    [(1, 400, [1]), (64, 64 * 400, [16] * 4), (400, 400 * 100_000, [10] * 40), (3, 60 << 20, [1] * 3), (0, 0, [])],
)
def test_parts_keep_the_threads_busy_and_are_short(count, total_bytes, sizes):
    ranges = split(count, total_bytes, threads=2, most=32)
    assert [len(each) for each in ranges] == sizes
    assert np.concatenate([[], *ranges]).tolist() == list(range(count))
