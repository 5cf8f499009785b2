"""Room for the bytes of calls: what is taken is given back, however a call ends."""

import asyncio

import numpy as np
import pytest
from bundles import encode

from bundle.preprocessing import Limits
from service.batching.entries import Priority
from service.errors import MemoryFull, RequestInvalid
from service.inference.dataplane import DataPlane
from service.inference.pending import PendingBytes
from service.inference.values import Request
from service.models.version import ModelQuery
from service.runtimes.usable import usable_memory

TINY = ModelQuery("tiny")
MEBIBYTE = 1 << 20


def slow() -> float:
    """What a batcher estimates."""
    return 2.5


def test_who_finds_no_room_is_told_when_to_try_again():
    pending = PendingBytes(10 * MEBIBYTE)
    pending.check(10 * MEBIBYTE, Priority.INTERACTIVE, slow)
    pending.add(9 * MEBIBYTE)
    said = "the server has 9.0 MiB pending and this call brings 2.0, over the limit of 10.0; try again shortly"
    with pytest.raises(MemoryFull, match=said) as full:
        pending.check(2 * MEBIBYTE, Priority.INTERACTIVE, slow)
    assert full.value.retry_after == 2.5
    pending.release(9 * MEBIBYTE)
    pending.check(10 * MEBIBYTE, Priority.INTERACTIVE, slow)


def test_what_never_fits_is_told_to_split():
    pending = PendingBytes(10 * MEBIBYTE)
    with pytest.raises(RequestInvalid, match=r"brings 11.0 MiB, the server never has more than 10.0 pending \(--max-"):
        pending.check(11 * MEBIBYTE, Priority.INTERACTIVE, slow)
    with pytest.raises(RequestInvalid, match=r"than 5.0 pending \(--max-pending-mb, half of it for priority batch\)"):
        pending.check(6 * MEBIBYTE, Priority.BATCH, slow)


def test_jobs_leave_half_of_the_room_to_people():
    pending = PendingBytes(10 * MEBIBYTE)
    pending.add(4 * MEBIBYTE)
    with pytest.raises(MemoryFull, match=r"over the limit of 5\.0"):
        pending.check(2 * MEBIBYTE, Priority.BATCH, slow)
    pending.check(2 * MEBIBYTE, Priority.INTERACTIVE, slow)


def test_by_default_it_is_an_eighth_of_the_memory_that_the_processes_share():
    pending = PendingBytes(processes=2)
    pending.check(usable_memory() // 16, Priority.INTERACTIVE, slow)
    with pytest.raises(RequestInvalid):
        pending.check(usable_memory() // 16 + 1, Priority.INTERACTIVE, slow)


@pytest.fixture
def narrow(plane):
    """A data plane with room for a tensor of 40 pictures of the tiny model."""
    pending = PendingBytes(40 * 8 * 8 * 3)
    narrow = DataPlane(plane._models, limits=Limits(), max_images_per_call=1000, pending=pending)
    yield narrow
    narrow.close()
    assert pending.pending == 0


def tensor(count: int) -> np.ndarray:
    return np.zeros((count, 8, 8, 3), np.uint8)


async def test_a_tensor_counts_its_bytes_until_it_is_answered(narrow, metrics):
    first = asyncio.ensure_future(narrow.classify(Request(TINY, {"": tensor(30)})))
    await asyncio.sleep(0)
    with pytest.raises(MemoryFull):
        await narrow.classify(Request(TINY, {"": tensor(11)}))
    with pytest.raises(RequestInvalid):
        await narrow.classify(Request(TINY, {"": tensor(41)}))
    assert (await narrow.classify(Request(TINY, {"": tensor(10)}))).count == 10
    await first
    assert (await narrow.classify(Request(TINY, {"": tensor(40)}))).count == 40


async def test_pictures_count_as_they_are_encoded_until_their_caller_leaves(narrow):
    picture = encode(tensor(1)[0])
    most = 40 * 8 * 8 * 3 // len(picture)
    leaving = asyncio.ensure_future(narrow.classify(Request(TINY, {"": [picture] * most})))
    await asyncio.sleep(0)
    with pytest.raises(MemoryFull):
        await narrow.classify(Request(TINY, {"": [picture] * most}))
    leaving.cancel()
    await asyncio.wait([leaving])
    assert (await narrow.classify(Request(TINY, {"": [picture] * most}))).count == most
