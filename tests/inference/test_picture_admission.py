"""More pictures than can be decoded or run in time: who can't be answered costs no decoding."""

import asyncio
import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
from held_decoder import HeldDecoder, photo
from servers import Gate, leased, until

from bundle.preprocessing import Limits
from service.batching import estimate
from service.batching.batcher import HEADROOM
from service.batching.entries import Priority
from service.errors import CannotMeetDeadline, DeadlinePassed
from service.inference import pace
from service.inference.dataplane import DataPlane
from service.inference.decoding import work_of
from service.inference.values import Answer, Request
from service.models.registry import Registry
from service.models.version import ModelQuery, Servable

TINY = ModelQuery("tiny")
MINUTE = 60.0
PHOTO = photo(0)


@pytest.fixture
def decoder(monkeypatch, plane) -> Iterator[HeldDecoder]:
    held = HeldDecoder(monkeypatch)
    yield held
    held.open()


@pytest.fixture
def servable(plane) -> Iterator[Servable]:
    models: Registry = plane._models
    with leased(models, TINY) as found:
        yield found


def asked(
    plane: DataPlane, minutes: float = math.inf, priority: Priority = Priority.INTERACTIVE, count: int = 1
) -> asyncio.Task[Answer]:
    """A call that has come, of `count` photos and this much time."""
    deadline = time.monotonic() + minutes * MINUTE
    request = Request(TINY, {"": [PHOTO] * count}, deadline=deadline, priority=priority)
    return asyncio.ensure_future(plane.classify(request))


async def busy(plane: DataPlane, decoder: HeldDecoder) -> list[asyncio.Task[Answer]]:
    """Calls of one photo, as many as the decoding threads take at once: one in hand and one ahead each."""
    calls = [asked(plane) for _ in range(2 * plane._threads)]
    await until(lambda: decoder.pictures == plane._threads)
    return calls


def learn_decoding(plane: DataPlane, minutes: float = 1) -> None:
    """As if one of the photos had taken a thread so long."""
    for _ in range(pace.ENOUGH):
        plane._decoders.pace.observe(work_of(PHOTO, Limits()), minutes * MINUTE)


def learn_running(servable: Servable) -> None:
    """As if batches of every size had taken a minute."""
    for size in (1, 2, servable.batcher.max_batch_size):
        for _ in range(estimate.ENOUGH):
            servable.batcher.estimate.observe(size, MINUTE)


async def test_who_would_wait_too_long_for_a_decoder_is_refused_at_once_and_never_decoded(plane, decoder):
    learn_decoding(plane)
    calls = await busy(plane, decoder)  # two minutes of every thread, then a minute of its own
    for _ in range(20):
        with pytest.raises(CannotMeetDeadline) as refusal:
            await asked(plane, minutes=3.2)
        assert refusal.value.retry_after == pytest.approx(3 * MINUTE)
    calls.append(asked(plane, minutes=4.5))
    await asyncio.sleep(0)
    decoder.open()
    assert all(answer.best.heads for answer in await asyncio.gather(*calls))
    assert decoder.pictures == len(calls)


async def test_what_can_be_decoded_at_once_is_never_refused(plane, servable, decoder):
    """Or one slow picture would keep the decoders idle for ever, were the model busy with tensors or not."""
    learn_decoding(plane, minutes=1000)
    decoder.open()
    assert (await asked(plane, minutes=1)).best.heads
    learn_running(servable)
    assert (await asked(plane, minutes=0.5)).best.heads


@pytest.mark.parametrize(
    ("coming", "comes", "minutes"),
    [
        (Priority.INTERACTIVE, Priority.INTERACTIVE, 3),
        (Priority.BATCH, Priority.BATCH, 3),
        (Priority.INTERACTIVE, Priority.BATCH, 3),
        (Priority.BATCH, Priority.INTERACTIVE, 0),
    ],
)
async def test_pictures_stand_behind_the_rows_that_are_being_decoded(plane, decoder, coming, comes, minutes):
    """Eight rows are two batches of a minute; the third is the call's own. People do not stand behind jobs."""
    servable = plane._models.find(TINY).servable
    learn_running(servable)
    calls = [asked(plane, priority=coming, count=8)]
    await until(lambda: decoder.pictures >= plane._threads)
    if minutes:
        with pytest.raises(CannotMeetDeadline):
            await asked(plane, minutes + 0.2, comes)
    calls.append(asked(plane, minutes / (1 - HEADROOM) + 1 if minutes else 3.5, comes))
    await asyncio.sleep(0)
    tensor = Request(TINY, {"": np.zeros((1, 8, 8, 3), np.uint8)}, deadline=time.monotonic() + 0.5 * MINUTE)
    assert (await plane.classify(tensor)).best.heads  # a row can begin at once
    decoder.open()
    await asyncio.gather(*calls)
    assert set(servable.batcher._coming.values()) == {0}


async def test_who_is_out_of_time_when_his_turn_comes_is_not_decoded(plane, servable, decoder):
    calls = await busy(plane, decoder)
    late = [asked(plane, minutes=0.02 / MINUTE, count=count) for count in (1, 1, 30)]
    await asyncio.sleep(0)
    passed = time.monotonic() + 0.02
    await until(lambda: time.monotonic() > passed)
    decoder.open()
    for end in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(end, DeadlinePassed)
    await asyncio.gather(*calls)
    assert decoder.pictures == len(calls)
    assert set(servable.batcher._coming.values()) == {0}


async def test_who_can_not_be_run_in_time_when_his_turn_comes_is_not_decoded(plane, servable, decoder):
    [instance] = servable.batcher._instances
    instance.runtime = gate = Gate(instance.runtime)
    calls = await busy(plane, decoder)
    late = asked(plane, minutes=2)
    tensor = Request(TINY, {"": np.zeros((9, 8, 8, 3), np.uint8)})  # a batch in hand, five rows that wait
    calls.append(asyncio.ensure_future(plane.classify(tensor)))
    await gate.reached()
    learn_running(servable)
    decoder.open()
    with pytest.raises(CannotMeetDeadline):
        await late
    gate.open()
    await asyncio.gather(*calls)
    assert decoder.pictures == len(calls) - 1


async def test_who_leaves_while_he_waits_is_not_decoded_and_not_reckoned_with(plane, servable, decoder):
    learn_decoding(plane)
    calls = await busy(plane, decoder)
    gone = [asked(plane) for _ in range(20)]
    await asyncio.sleep(0)
    for each in gone:
        each.cancel()
    await asyncio.wait(gone)
    calls.append(asked(plane, minutes=4.5))
    await asyncio.sleep(0)
    decoder.open()
    assert all(answer.best.heads for answer in await asyncio.gather(*calls))
    assert decoder.pictures == len(calls)
    assert set(servable.batcher._coming.values()) == {0}


async def test_a_call_of_one_photo_is_reckoned_behind_one_part_of_a_large_one(plane, decoder):
    learn_decoding(plane)
    calls = [*await busy(plane, decoder), asked(plane, count=40)]
    await asyncio.sleep(0)
    part = min(math.ceil(40 / (2 * plane._threads)), plane._models.find(TINY).servable.batcher.max_batch_size)
    minutes = 2 + part / plane._threads + 1
    with pytest.raises(CannotMeetDeadline):
        await asked(plane, minutes)
    calls.append(asked(plane, minutes / (1 - HEADROOM) + 0.5))
    await asyncio.sleep(0)
    decoder.open()
    assert sum(answer.count for answer in await asyncio.gather(*calls)) == decoder.pictures
