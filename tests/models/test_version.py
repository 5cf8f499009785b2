"""Places in the queue and leases: what is taken is given back, whatever happens in between."""

import asyncio

import pytest

from service.errors import QueueFull
from service.models.version import ModelVersion, Servable
from service.telemetry.metrics import Metrics


@pytest.fixture
def servable(tiny) -> Servable:
    """A servable with room for ten pictures; it is never asked to run any."""
    return Servable(tiny, {}, None, Metrics().version("tiny", 1), runs_on="nothing", max_pending=10)  # type: ignore[arg-type]


def test_pictures_hold_their_places_until_they_are_answered(servable):
    servable.admit(6)
    servable.admit(4)
    assert servable.pending == 10
    with pytest.raises(
        QueueFull, match=r"model 'tiny' has 10 pictures pending and this call brings 1, over the limit of 10"
    ):
        servable.admit(1)
    servable.release(6)
    servable.release(4)
    assert servable.pending == 0


def test_a_call_without_a_place_takes_none(servable):
    servable.admit(5)
    with pytest.raises(QueueFull):
        servable.admit(6)
    servable.admit(5)
    assert servable.pending == 10


async def test_a_version_is_unused_when_its_last_lease_ends(servable):
    version = ModelVersion("tiny", 1)
    version.servable = servable
    await version.unused()
    version.acquire()
    version.acquire()
    version.release()
    waiting = asyncio.ensure_future(version.unused())
    await asyncio.sleep(0)
    assert not waiting.done()
    version.release()
    await waiting
