"""The batcher's rule and its promises, with a runtime that runs when the test says so."""

import asyncio
import random
import time
from collections.abc import Callable

import numpy as np
import pytest
from batcher_callers import answers, batching, begun, queued, rows
from fake_runtime import SIGNATURE, FakeRuntime, echo

from bundle.manifest import Signature, TensorSpec
from service.batching.batcher import Batcher
from service.batching.estimate import ENOUGH
from service.errors import DeadlinePassed, ModelNotReady, RuntimeFailed
from service.runtimes.base import Arrays
from service.telemetry.metrics import Metrics

PAST = 0.0  # a deadline on the monotonic clock that has gone by


async def test_a_lone_row_runs_at_once():
    runtime = FakeRuntime()
    async with batching(runtime) as batcher:
        assert answers(await batcher.run(rows(7))) == [7]
    assert runtime.batches == [[7]]


async def test_rows_accumulate_while_the_instance_is_busy_and_form_one_batch():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        tasks = await queued(batcher, rows(1))
        await begun(runtime)
        tasks += await queued(batcher, rows(2), rows(3), rows(4))
        runtime.release(2)
        assert [answers(ran) for ran in await asyncio.gather(*tasks)] == [[1], [2], [3], [4]]
    assert runtime.batches == [[1], [2, 3, 4]]


async def test_an_entry_above_the_limit_runs_in_several_batches_and_shares_the_last():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        tasks = await queued(batcher, rows(*range(10)), rows(10, 11, 12))
        runtime.release(4)
        large, small = await asyncio.gather(*tasks)
    assert runtime.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12]]
    assert (answers(large), answers(small)) == (list(range(10)), [10, 11, 12])


async def test_a_burst_that_finds_the_instance_idle_is_one_batch():
    runtime = FakeRuntime()
    async with batching(runtime) as batcher:
        await asyncio.gather(*await queued(batcher, rows(1), rows(2), rows(3)))
    assert runtime.batches == [[1, 2, 3]]


async def test_idle_instances_share_a_burst():
    runtimes = [FakeRuntime() for _ in range(3)]
    async with batching(*runtimes) as batcher:
        await asyncio.gather(*await queued(batcher, *map(rows, range(8))))
    assert sorted(runtime.batches for runtime in runtimes) == [[[0, 1, 2]], [[3, 4, 5]], [[6, 7]]]


@pytest.mark.parametrize("offset", range(8))
async def test_a_runtime_gets_aligned_rows_wherever_they_lie_in_a_message(offset):
    aligned: list[bool] = []

    def look(inputs: Arrays) -> dict[str, np.ndarray]:
        aligned.append(inputs["x"].flags.aligned)
        return echo(inputs)

    message = bytes(offset) + np.arange(3).tobytes()
    async with batching(FakeRuntime(look)) as batcher:
        assert answers(await batcher.run({"x": np.ndarray((3, 1), np.int64, message, offset)})) == [0, 1, 2]
    assert aligned == [True]


async def test_every_idle_instance_takes_a_batch():
    runtimes = FakeRuntime(held=True), FakeRuntime(held=True)
    async with batching(*runtimes) as batcher:
        tasks = await queued(batcher, rows(1), rows(2))
        for runtime in runtimes:
            await begun(runtime)
            runtime.release()
        await asyncio.gather(*tasks)
    assert sorted(runtime.batches for runtime in runtimes) == [[[1]], [[2]]]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_sizes_everyone_gets_exactly_their_own_rows(seed):
    """Rows are numbered; callers come in bursts, so that entries share batches and are split over them in many ways."""
    choice = random.Random(seed)  # noqa: S311 - not a secret
    runtimes = [FakeRuntime() for _ in range(choice.randint(1, 3))]
    limit, numbers = choice.randint(1, 9), iter(range(10_000))

    async def caller(batcher: Batcher, size: int) -> tuple[list[int], list[int]]:
        mine = [next(numbers) for _ in range(size)]
        for _ in range(choice.randint(0, 3)):
            await asyncio.sleep(0)
        return mine, answers(await batcher.run(rows(*mine)))

    async with batching(*runtimes, max_batch_size=limit) as batcher:
        sizes = [choice.choice([1, 1, 2, 3, choice.randint(1, 40)]) for _ in range(60)]
        pairs = await asyncio.gather(*(caller(batcher, size) for size in sizes))
    assert all(mine == own for mine, own in pairs)
    batches = [batch for runtime in runtimes for batch in runtime.batches]
    assert max(map(len, batches)) <= limit
    assert sorted(number for batch in batches for number in batch) == list(range(sum(sizes)))


async def test_a_row_whose_deadline_has_passed_is_never_executed():
    runtime = FakeRuntime()
    async with batching(runtime) as batcher:
        with pytest.raises(DeadlinePassed, match=r"passed after .* s in the queue; nothing was executed"):
            await batcher.run(rows(1), PAST)
        assert answers(await batcher.run(rows(2))) == [2]
    assert runtime.batches == [[2]]


async def test_expired_entries_make_room_for_those_behind_them():
    runtime = FakeRuntime(held=True)
    async with batching(runtime, max_batch_size=2) as batcher:
        first = await queued(batcher, rows(1))
        await begun(runtime)
        expired = await queued(batcher, rows(2, 3), rows(4, 5), deadline=PAST)
        good = await queued(batcher, rows(6, 7))
        runtime.release(2)
        assert answers((await asyncio.gather(*first, *good))[1]) == [6, 7]
        assert all(isinstance(task.exception(), DeadlinePassed) for task in expired)
    assert runtime.batches == [[1], [6, 7]]


async def test_a_deadline_between_two_batches_of_an_entry_spares_the_second():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        deadline = time.monotonic() + 0.05
        [task] = await queued(batcher, rows(*range(6)), deadline=deadline)
        await begun(runtime)
        while time.monotonic() <= deadline:  # noqa: ASYNC110 - the clock has no event
            await asyncio.sleep(0.01)
        runtime.release()
        with pytest.raises(DeadlinePassed, match="4 of 6 pictures were begun"):
            await task
    assert runtime.batches == [[0, 1, 2, 3]]


async def test_a_caller_that_left_is_never_executed():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        first, gone, last = [*await queued(batcher, rows(1)), *await queued(batcher, rows(2), rows(3))]
        gone.cancel()
        runtime.release(2)
        assert [answers(ran) for ran in await asyncio.gather(first, last)] == [[1], [3]]
    assert runtime.batches == [[1], [3]]


async def test_a_caller_that_leaves_between_its_batches_spares_the_second():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        [gone] = await queued(batcher, rows(*range(6)))
        await begun(runtime)
        gone.cancel()
        [last] = await queued(batcher, rows(6))
        runtime.release(2)
        assert answers(await last) == [6]
    assert runtime.batches == [[0, 1, 2, 3], [6]]


def fails_on(bad: int, failure: Exception) -> Callable:
    def answer(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if bad in inputs["x"]:
            raise failure
        return echo(inputs)

    return answer


@pytest.mark.parametrize("failure", [ValueError("out of ideas"), RuntimeFailed("out of ideas")])
async def test_an_entry_that_can_not_be_run_fails_alone(failure, caplog):
    runtime, metrics = FakeRuntime(fails_on(4, failure), held=True), Metrics()
    async with batching(runtime, metrics=metrics) as batcher:
        tasks = await queued(batcher, rows(1))
        await begun(runtime)
        tasks += await queued(batcher, rows(2), rows(3), rows(4), rows(5))
        runtime.let_go()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        after = await batcher.run(rows(6))
    failed = done.pop(3)
    assert isinstance(failed, RuntimeFailed)
    assert "out of ideas" in str(failed)
    assert [answers(ran) for ran in [*done, after]] == [[1], [2], [3], [5], [6]]
    assert runtime.batches == [[1], [2, 3, 4, 5], [2, 3], [4, 5], [4], [5], [6]]
    assert [record.levelname for record in caplog.records if record.message == "batch failed"] == ["ERROR"]
    assert metrics.registry.get_sample_value("convoy_batches_failed_total", {"model": "fake", "version": "1"}) == 1


async def test_an_entry_fails_as_a_whole_when_one_of_its_batches_does():
    runtime = FakeRuntime(fails_on(5, ValueError("no five")))
    async with batching(runtime) as batcher:
        with pytest.raises(RuntimeFailed, match="no five"):
            await batcher.run(rows(*range(12)))
        assert answers(await batcher.run(rows(20))) == [20]


async def test_a_runtime_that_gives_back_too_few_rows_fails_the_batch():
    runtime = FakeRuntime(lambda inputs: {"y": inputs["x"][:-1].copy()})
    async with batching(runtime) as batcher:
        with pytest.raises(RuntimeFailed, match=r"got 3 rows and gave back {'y': 2}"):
            await batcher.run(rows(1, 2, 3))


async def test_outputs_that_are_no_arrays_fail_their_entry_and_the_others_are_answered():
    runtime = FakeRuntime(lambda inputs: {"y": list(echo(inputs)["y"])})
    async with batching(runtime) as batcher:
        tasks = await queued(batcher, rows(*range(6)), rows(6))
        with pytest.raises(RuntimeFailed):
            await tasks[0]
        assert len((await tasks[1]).outputs["y"]) == 1


async def test_an_output_that_is_missing_from_a_later_batch_fails_the_entry_instead_of_being_made_up():
    runtime = FakeRuntime(lambda inputs: echo(inputs) | ({"z": echo(inputs)["y"]} if len(inputs["x"]) > 1 else {}))
    async with batching(runtime) as batcher:
        with pytest.raises(RuntimeFailed, match="differ from batch to batch"):
            await batcher.run(rows(*range(batcher.max_batch_size + 1)))


async def test_outputs_that_change_their_shape_between_batches_fail_the_entry_instead_of_hanging_it():
    runtime = FakeRuntime(lambda inputs: {"y": np.zeros((len(inputs["x"]), len(inputs["x"])))})
    async with batching(runtime) as batcher:
        with pytest.raises(RuntimeFailed, match="differ from batch to batch"):
            await batcher.run(rows(*range(7)))


async def test_only_rows_of_one_shape_stand_side_by_side():
    """A model that takes pictures of any size: two sizes at a time must not fail each other's batch."""
    anything = (TensorSpec(name="x", dtype="int64", shape=(None, None)),)
    runtime = FakeRuntime(held=True)
    async with batching(runtime, signature=Signature(inputs=anything, outputs=SIGNATURE.outputs)) as batcher:
        tasks = await queued(batcher, rows(1))
        await begun(runtime)
        wide = {"x": np.array([[3, 3]])}
        tasks += await queued(batcher, rows(2), wide, wide, rows(4))
        runtime.release(4)
        done = [answers(ran) for ran in await asyncio.gather(*tasks)]
    assert done == [[1], [2], [3, 3], [3, 3], [4]]
    assert runtime.batches == [[1], [2], [3, 3], [4]]


async def test_stop_answers_the_batch_in_hand_and_refuses_those_that_wait():
    runtime = FakeRuntime(held=True)
    async with batching(runtime) as batcher:
        running, waiting = [*await queued(batcher, rows(1)), *await queued(batcher, rows(2))]
        await begun(runtime)
        stopping = asyncio.ensure_future(batcher.stop())
        with pytest.raises(ModelNotReady, match="was unloaded before this call's turn"):
            await waiting
        assert not runtime.closed
        runtime.release()
        await stopping
        assert answers(await running) == [1]
        with pytest.raises(ModelNotReady):
            await batcher.run(rows(3))
    assert runtime.batches == [[1]]
    assert runtime.closed


async def test_a_runtime_that_can_not_be_closed_does_not_keep_the_others_open(caplog):
    class Stuck(FakeRuntime):
        def close(self) -> None:
            raise OSError("the driver is gone")

    other = FakeRuntime()
    async with batching(Stuck(), other):
        pass
    assert other.closed
    assert "could not be closed" in caplog.text


async def test_the_waits_and_the_batches_are_measured():
    runtime, metrics = FakeRuntime(held=True), Metrics()
    async with batching(runtime, metrics=metrics) as batcher:
        first, second = [*await queued(batcher, rows(1)), *await queued(batcher, rows(2, 3))]
        runtime.release(2)
        at_once, waited = await asyncio.gather(first, second)

    def counted(name: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"model": "fake", "version": "1"})

    assert min(at_once.queue_seconds, at_once.compute_seconds, waited.queue_seconds, waited.compute_seconds) > 0
    assert counted("convoy_queue_seconds_sum") == pytest.approx(at_once.queue_seconds + waited.queue_seconds)
    assert counted("convoy_compute_seconds_sum") == pytest.approx(at_once.compute_seconds + waited.compute_seconds)
    assert counted("convoy_batch_size_count") == 2
    assert counted("convoy_batch_size_sum") == 3


async def test_a_swap_gives_new_rows_to_the_new_runtimes_and_answers_what_the_old_ones_have():
    old, new = FakeRuntime(held=True), FakeRuntime()
    async with batching(old) as batcher:
        [first] = await queued(batcher, rows(1))
        await begun(old)
        waiting = await queued(batcher, rows(2), rows(3))
        swapping = asyncio.ensure_future(batcher.swap([new], 1))
        assert [answers(await each) for each in waiting] == [[2], [3]]
        assert not first.done()
        assert not old.closed
        old.release()
        await swapping
        assert answers(await first) == [1]
        assert old.closed
        assert (old.batches, new.batches) == ([[1]], [[2], [3]])
        assert answers(await batcher.run(rows(4, 5))) == [4, 5]
    assert new.batches[2:] == [[4], [5]]
    assert new.closed


async def test_after_a_swap_the_last_batch_of_the_old_runtimes_teaches_nothing_about_the_new():
    old, new = FakeRuntime(held=True), FakeRuntime()
    async with batching(old) as batcher:
        [last] = await queued(batcher, rows(1))
        await begun(old)
        swapping = asyncio.ensure_future(batcher.swap([new], 4))
        await asyncio.sleep(0)
        old.release()
        await asyncio.gather(swapping, last)
        for _ in range(ENOUGH - 1):
            await batcher.run(rows(2))
        assert not batcher.estimate.known
        await batcher.run(rows(3))
        assert batcher.estimate.known


async def test_a_swap_after_the_stop_closes_the_runtimes_that_came_too_late():
    late = FakeRuntime()
    async with batching(FakeRuntime()) as batcher:
        await batcher.stop()
        await batcher.swap([late], 4)
    assert late.closed
