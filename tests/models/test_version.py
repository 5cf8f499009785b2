"""Places in the queue and leases: what is taken is given back, whatever happens in between."""

import asyncio

import pytest

from service.batching.entries import Priority
from service.errors import QueueFull, RequestInvalid
from service.models.version import ModelVersion, Servable
from service.telemetry.metrics import Metrics


@pytest.fixture
def servable(tiny) -> Servable:
    """A servable with room for ten pictures; it is never asked to run any."""
    metrics = Metrics().version("tiny", 1)
    return Servable(tiny, {}, Slow(), metrics, runs_on="nothing", max_pending=10)  # type: ignore[arg-type]


class Slow:
    """What the servable asks its batcher."""

    def retry_after(self) -> float:
        return 2.5


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


def test_a_full_queue_tells_when_to_try_again(servable):
    servable.admit(1)
    with pytest.raises(QueueFull) as full:
        servable.admit(10)
    assert full.value.retry_after == 2.5


def test_a_call_that_never_fits_is_told_to_split_and_not_to_try_again(servable):
    with pytest.raises(RequestInvalid) as refused:
        servable.admit(11)
    said = "the call brings 11 pictures, model 'tiny' never has more than 10 pending (--max-pending); split it into"
    assert str(refused.value).startswith(said)
    with pytest.raises(
        RequestInvalid, match=r"than 5 pending \(--max-pending, half of it for priority batch\); split it"
    ):
        servable.admit(6, Priority.BATCH)
    assert servable.pending == 0


def test_jobs_leave_half_of_the_places_to_people(servable):
    servable.admit(4, Priority.BATCH)
    with pytest.raises(QueueFull, match="over the limit of 5"):
        servable.admit(2, Priority.BATCH)
    servable.admit(1, Priority.BATCH)
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
