"""More pictures than the server can decode, over the wire: every call one answer, and nobody decoded for nothing."""

import asyncio
from collections.abc import Iterator

import grpc.aio
import numpy as np
import pytest
from expected import scores
from held_decoder import HeldDecoder, photo
from servers import Asked, refused, until

from bundle.preprocessing import Limits
from service.inference.decoding import work_of
from service.inference.pace import ENOUGH

PHOTOS = [photo(number) for number in range(24)]


@pytest.fixture(scope="session")
def best(tiny) -> np.ndarray:
    """The best score of each of the photos."""
    return scores(tiny, PHOTOS).max(axis=1)


@pytest.fixture
def decoder(monkeypatch, asked) -> Iterator[HeldDecoder]:
    held = HeldDecoder(monkeypatch)
    yield held
    held.open()


def score(response) -> float:
    return response.results[0].classifications[0].classes[0].score


async def busy(asked: Asked) -> list[asyncio.Task]:
    """Patient calls, twice as many as the decoding threads take."""
    calls = [asyncio.ensure_future(asked.classify(each)) for each in PHOTOS]
    await until(lambda: asked.of_tiny("convoy_pending_images") == len(PHOTOS))
    return calls


async def test_calls_that_can_not_be_decoded_in_time_are_refused_at_once_and_told_when_to_come_again(
    asked, decoder, best
):
    for _ in range(ENOUGH):  # as if a photo had taken a minute
        asked.server._data_plane._decoders.pace.observe(work_of(PHOTOS[0], Limits()), 60.0)
    patient = await busy(asked)
    calls = [asked.classify(PHOTOS[0], seconds=30) for _ in range(50)]
    for failure in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(failure, grpc.aio.AioRpcError)
        assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "grpc-status-details-bin" in dict(failure.trailing_metadata())
    assert asked.of_tiny("convoy_pending_images") == len(patient)
    decoder.open()
    np.testing.assert_allclose([score(each) for each in await asyncio.gather(*patient)], best, atol=1e-5)
    assert decoder.pictures == len(patient)
    assert (asked.calls("RESOURCE_EXHAUSTED"), asked.calls("OK")) == (50, len(patient))


async def test_a_storm_of_deadlines_before_the_decoders_costs_no_decoding(asked, decoder, best):
    patient = await busy(asked)
    hasty = [refused(asked.classify(PHOTOS[0], seconds=0.05)) for _ in range(50)]
    assert {code for code, _ in await asyncio.gather(*hasty)} == {"DEADLINE_EXCEEDED"}
    decoder.open()
    np.testing.assert_allclose([score(each) for each in await asyncio.gather(*patient)], best, atol=1e-5)
    await until(lambda: asked.of_tiny("convoy_pending_images") == 0)
    assert decoder.pictures == len(patient)
