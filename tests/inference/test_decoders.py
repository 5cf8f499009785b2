"""Decoding threads serve calls in turns, and give back every part or its error."""

import asyncio
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from servers import until

from bundle.preprocessing import Limits
from service.inference import decoding as decoding_module
from service.inference.decoders import WORTH, Decoders
from service.inference.decoding import Part, Pictures, decode_part, split, work_of, work_of_each
from service.inference.pace import ENOUGH
from service.inference.room import Room

PLACES = 2  # of one thread
SPECS = {"image": None}
LARGE = {"image": [b"x" * WORTH] * 20}
SMALL = {"image": [b"x"] * 20}
# 7,070 x 7,070 pixels, as a lossless WebP of one colour declares them in the first of its 40 bytes.
BOMB = b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f" + (7069 | 7069 << 14).to_bytes(4, "little") + bytes(15)


@contextmanager
def decoding(threads: int = 1, room: Room | None = None) -> Iterator[Decoders]:
    decoders = Decoders(threads, Limits(), room or Room())
    try:
        yield decoders
    finally:
        decoders.close()


def call(inputs: dict, specs: dict = SPECS) -> Pictures:
    return Pictures(inputs, specs, work_of_each(inputs, len(inputs["image"]), Limits()), ())


def asked(decoders: Decoders, line: object, inputs: dict, done: list) -> list[asyncio.Future[Part]]:
    """All pictures, each a part; `done` gets the line whenever one is back."""
    pictures = call(inputs)
    futures = [decoders.decode(line, pictures, range(n, n + 1)) for n in range(len(inputs["image"]))]
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
        bad = decoders.decode("bad", call({"image": [b"x"]}, {}), range(1))
        good = decoders.decode("good", call({"image": [b"x"]}), range(1))
        assert (await good).errors.keys() == {0}
        with pytest.raises(KeyError):
            await bad


class HeldPictures:
    """Stands for the decoder: every picture waits until `open`; what came is counted."""

    def __init__(self, monkeypatch) -> None:
        self.came = threading.Semaphore(0)
        self.pictures: list[bytes] = []
        self._open = threading.Event()
        self.open = self._open.set
        monkeypatch.setattr(decoding_module, "decode", self)

    def __call__(self, data: bytes, _spec: None, _limits: Limits) -> np.ndarray:
        self.pictures.append(data)
        self.came.release()
        self._open.wait()
        return np.zeros((1, 1, 1), np.uint8)


@pytest.fixture
def held(monkeypatch):
    held = HeldPictures(monkeypatch)
    yield held
    held.open()


async def test_what_is_in_a_thread_ends_at_the_next_picture_when_its_caller_leaves(held):
    small, here = call({"image": [b"small"] * 100}), call({"image": [b"here"]})
    with decoding() as decoders:
        gone = [decoders.decode("gone", small, range(first, first + 25)) for first in (0, 25, 50, 75)]
        await until(lambda: held.came.acquire(blocking=False))
        for future in gone:
            future.cancel()
        await asyncio.sleep(0)
        waiting = decoders.decode("here", here, range(1))
        held.open()
        await waiting
    assert held.pictures == [b"small", b"here"]


def test_who_left_does_not_wait_for_room():
    """Whoever waits for it is overtaken by nobody."""
    room, parts = Room(work_of(BOMB, Limits())), list[Part]()
    taken = room.take(work_of(BOMB, Limits()))
    bombs = call({"image": [BOMB] * 2})
    gone = threading.Thread(
        target=lambda: parts.append(decode_part(bombs, range(2), Limits(), room, lambda: False)), daemon=True
    )
    gone.start()
    gone.join(10)
    try:
        assert parts == [Part()]
    finally:
        room.give_back(taken)


async def test_who_left_is_reckoned_with_no_longer_though_a_thread_has_his_pictures(held):
    bombs = call({"image": [BOMB] * 4})
    with decoding() as decoders:
        for _ in range(ENOUGH):
            decoders.pace.observe(work_of(BOMB, Limits()), 60.0)
        gone = [decoders.decode("gone", bombs, range(n, n + 1)) for n in range(4)]
        await until(lambda: held.came.acquire(blocking=False))
        assert decoders.seconds("new", 0, 1) == pytest.approx(180)  # two in hand, and one of the other line
        for future in gone:
            future.cancel()
        await asyncio.sleep(0)
        assert decoders.seconds("new", 0, 1) == 0
        held.open()


async def test_who_left_the_line_leaves_no_bytes_in_it(held):
    class Inputs(dict):
        """A dict that can be watched."""

    with decoding() as decoders:
        asked(decoders, "busy", LARGE, [])
        await until(lambda: held.came.acquire(blocking=False))
        inputs = Inputs(image=[b"x" * WORTH])
        future, alive = decoders.decode("gone", call(inputs), range(1)), weakref.ref(inputs)
        del inputs
        assert alive() is not None
        future.cancel()
        await asyncio.sleep(0)
        assert alive() is None
        held.open()


async def test_few_bytes_of_many_pixels_weigh_what_they_declare(held):
    with decoding() as decoders:
        many = asked(decoders, "many", {"image": [BOMB] * 20}, [])
        await until(lambda: held.came.acquire(blocking=False))
        one = asked(decoders, "one", {"image": [b"x"]}, [])
        held.open()
        await asyncio.gather(*many, *one)
    assert held.pictures.index(b"x") <= PLACES + 1


async def test_a_small_part_does_not_wait_in_one_group_with_a_large_one(held):
    with decoding() as decoders:
        small = decoders.decode("small", call({"image": [b"x"]}), range(1))
        large = decoders.decode("large", call({"image": [BOMB]}), range(1))
        await until(lambda: held.came.acquire(blocking=False))
        assert decoders._places == 0  # a group each
        held.open()
        await asyncio.gather(small, large)


@pytest.mark.parametrize(("room", "at_once"), [(60_000_000, 1), (120_000_000, 2)])
async def test_what_is_decoded_at_once_fits_into_the_room(held, room, at_once):
    bombs = call({"image": [BOMB] * 2})
    with decoding(2, Room(room)) as decoders:
        parts = [decoders.decode(line, bombs, range(line, line + 1)) for line in range(2)]
        await until(lambda: len(held.pictures) == at_once)
        if at_once == 1:
            await until(decoders._room._next.locked)  # the other one waits
        assert len(held.pictures) == at_once
        held.open()
        assert [part.numbers for part in await asyncio.gather(*parts)] == [[0], [1]]


def test_work_is_pixels_and_bytes():
    limits = Limits()
    assert work_of(BOMB, limits) == 7070 * 7070 + 40
    assert work_of(BOMB, Limits(max_pixels=7070 * 7070 - 1)) == 40  # refused unread
    assert work_of(b"no picture", limits) == 10
    hidden = b"\xff\xd8" + b"\xff\xfe\x00\x02" * 1000
    assert work_of(hidden, limits) == limits.max_pixels + len(hidden)
    inputs = {"one": [b"a", BOMB], "other": [b"bc", b"d"], "age": np.zeros((2, 1))}
    assert work_of_each(inputs, 2, limits) == [3, 7070 * 7070 + 41]


@pytest.mark.parametrize(
    ("work", "sizes"),
    [
        ([400], [1]),
        ([400] * 64, [16] * 4),
        ([400_000] * 100, [10] * 10),
        ([60 << 20] * 3, [1] * 3),
        ([50 << 20, *[400] * 8], [1, 3, 3, 2]),
        ([400, 400, 50 << 20, 400, 400], [2, 1, 2]),
        ([], []),
    ],
)
def test_parts_keep_the_threads_busy_and_are_short(work, sizes):
    ranges = split(work, threads=2, most=32)
    assert [len(each) for each in ranges] == sizes
    assert np.concatenate([[], *ranges]).tolist() == list(range(len(work)))
