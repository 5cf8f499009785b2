"""Places in the queue and leases: what is taken is given back, whatever happens in between."""

import asyncio

import pytest

from service.errors import QueueFull
from service.models.version import ModelVersion, Servable
from service.telemetry.metrics import Metrics


class Answered(Exception):
    """Ends a call in the middle."""


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def servable(tiny, metrics) -> Servable:
    """A servable with room for ten pictures; it is never asked to run any."""
    return Servable(tiny, {}, None, metrics.version("tiny", 1), runs_on="nothing", max_pending=10)  # type: ignore[arg-type]


def pending(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("convoy_pending_images", {"model": "tiny", "version": "1"})


def test_pictures_hold_their_places_until_they_are_answered(servable, metrics):
    with servable.admit(6), servable.admit(4):
        assert pending(metrics) == 10
        with pytest.raises(
            QueueFull, match=r"model 'tiny' has 10 pictures pending and this call brings 1, over the limit of 10"
        ):
            servable.admit(1).__enter__()
    assert pending(metrics) == 0


def test_a_call_that_fails_gives_its_places_back(servable, metrics):
    with pytest.raises(Answered), servable.admit(10):
        raise Answered
    assert pending(metrics) == 0


def test_a_call_without_a_place_takes_none(servable, metrics):
    with servable.admit(5), pytest.raises(QueueFull):
        servable.admit(6).__enter__()
    with servable.admit(10):
        assert pending(metrics) == 10


async def test_a_version_is_unused_when_its_last_lease_ends(servable):
    version = ModelVersion("tiny", 1)
    version.servable = servable
    await version.unused()
    with version.lease():
        with pytest.raises(Answered), version.lease():
            raise Answered
        waiting = asyncio.ensure_future(version.unused())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
