"""A call that can't be back in time is refused when it comes, and told when to come again."""

import asyncio
import time

import pytest
from batcher_callers import answers, batching, begun, queued, rows
from fake_runtime import FakeRuntime

from service.batching.batcher import LEAST_RETRY_SECONDS, Batcher
from service.batching.entries import Priority
from service.batching.estimate import ENOUGH
from service.errors import CannotMeetDeadline

MINUTE = 60.0


def learn(batcher: Batcher, seconds: float = MINUTE) -> None:
    """As if batches of every size had taken so long."""
    for size in (1, 2, batcher.max_batch_size):
        for _ in range(ENOUGH):
            batcher.estimate.observe(size, seconds)


def within(minutes: float) -> float:
    return time.monotonic() + minutes * MINUTE


async def test_before_the_first_batches_nothing_is_refused():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        first = await queued(batcher, rows(1))
        await begun(runtime)
        second = await queued(batcher, rows(2), deadline=within(0.001))
        runtime.release(2)
        await asyncio.gather(*first, *second, return_exceptions=True)
        assert not isinstance(second[0].exception(), CannotMeetDeadline)


@pytest.mark.parametrize(
    ("waiting", "count", "minutes"),
    [
        (0, 1, 2),  # the batch in hand, then its own
        (3, 1, 2),  # its own has room for it
        (4, 1, 3),  # a full batch between them
        (0, 9, 4),  # its own rows fill two batches and begin a third
        (6, 3, 4),
    ],
)
async def test_a_call_with_less_time_than_the_queue_and_its_run_take_is_refused_at_once(waiting, count, minutes):
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        learn(batcher)
        tasks = await queued(batcher, rows(1))
        await begun(runtime)
        if waiting:
            tasks += await queued(batcher, rows(*range(waiting)))
        with pytest.raises(CannotMeetDeadline) as refusal:
            await batcher.run(rows(*range(count)), within(minutes - 0.5))
        assert refusal.value.retry_after == pytest.approx((minutes - 1) * MINUTE, abs=MINUTE / 2)
        tasks += await queued(batcher, rows(*range(count)), deadline=within(minutes + 0.5))
        runtime.let_go()
        await asyncio.gather(*tasks)


async def test_what_can_begin_at_once_is_never_refused():
    """Or one bad estimate would keep a model idle for ever."""
    runtime = FakeRuntime()
    async with batching(runtime) as batcher:
        learn(batcher, 1000 * MINUTE)
        assert answers(await batcher.run(rows(*range(9)), within(1))) == list(range(9))


async def test_two_instances_halve_the_wait():
    runtimes = FakeRuntime(held=True), FakeRuntime(held=True)
    async with batching(*runtimes) as batcher:
        learn(batcher)
        tasks = await queued(batcher, rows(1), rows(2))
        tasks += await queued(batcher, rows(*range(16)))
        with pytest.raises(CannotMeetDeadline):
            await batcher.run(rows(3), within(3.5))
        tasks += await queued(batcher, rows(3), deadline=within(4.5))
        for runtime in runtimes:
            runtime.let_go()
        await asyncio.gather(*tasks)


async def test_the_wait_is_reckoned_by_what_leaves_the_instances_where_that_is_slower_than_their_runs():
    """On cores that others work on too: two instances whose runs take a minute give a row a minute, not two."""
    runtimes = FakeRuntime(held=True), FakeRuntime(held=True)
    async with batching(*runtimes, max_batch_size=1) as batcher:
        learn(batcher)
        tasks = await queued(batcher, rows(1), rows(2))
        tasks += await queued(batcher, rows(3), rows(4))
        assert batcher.check_deadline(1, within(3.5), Priority.INTERACTIVE) is None
        for number in range(ENOUGH + 1):
            batcher.throughput.observe(1, number * MINUTE, busy=True)
        with pytest.raises(CannotMeetDeadline):
            batcher.check_deadline(1, within(3.5), Priority.INTERACTIVE)
        assert batcher.check_deadline(1, within(4.5), Priority.INTERACTIVE) is None
        for runtime in runtimes:
            runtime.let_go()
        await asyncio.gather(*tasks)


async def test_people_do_not_wait_for_jobs_and_jobs_do_for_people():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        learn(batcher)
        tasks = await queued(batcher, rows(1), rows(*range(8)))
        tasks += await queued(batcher, rows(*range(40)), priority=Priority.BATCH)
        tasks += await queued(batcher, rows(2), deadline=within(4.5))
        with pytest.raises(CannotMeetDeadline):
            await batcher.run(rows(3), within(4.5), Priority.BATCH)
        runtime.let_go()
        await asyncio.gather(*tasks)


async def test_callers_who_left_are_not_waited_for():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        learn(batcher)
        first = await queued(batcher, rows(1))
        await begun(runtime)
        gone = await queued(batcher, *[rows(*range(4)) for _ in range(50)])
        with pytest.raises(CannotMeetDeadline):
            await batcher.run(rows(2), within(10))
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        stayed = await queued(batcher, rows(2), deadline=within(2.5))
        runtime.let_go()
        assert [answers(ran) for ran in await asyncio.gather(*first, *stayed)] == [[1], [2]]
    assert runtime.batches == [[1], [2]]


async def test_when_to_come_again_grows_with_the_queue():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        assert batcher.retry_after() == LEAST_RETRY_SECONDS
        learn(batcher)
        tasks = await queued(batcher, rows(1))
        tasks += await queued(batcher, rows(*range(8)))
        assert batcher.retry_after() == pytest.approx(3 * MINUTE, abs=MINUTE / 2)
        runtime.let_go()
        await asyncio.gather(*tasks)


async def test_what_is_run_is_learnt_from_and_what_failed_is_not():
    def moody(inputs):
        if 0 in inputs["x"]:
            raise ValueError("zero")
        return {"y": inputs["x"].copy()}

    async with batching(FakeRuntime(moody)) as batcher:
        for number in range(2 * ENOUGH):
            await asyncio.gather(batcher.run(rows(number % 2)), return_exceptions=True)
            assert batcher.estimate.known == (number == 2 * ENOUGH - 1)
        assert 0 < batcher.estimate.seconds(1) < MINUTE
