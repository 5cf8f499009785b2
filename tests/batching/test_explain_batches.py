"""Rows that ask for explanations and rows that do not: in one queue, in one batch, and apart where it costs."""

import numpy as np
import pytest
from batcher_callers import answers, batching, begun, queued, rows
from fake_runtime import FakeRuntime, echo

from service.errors import RuntimeFailed
from service.telemetry.metrics import Metrics

UNTOLD: dict[str, bool] = {}


def why(ran) -> list[int]:
    return ran.outputs["why"].ravel().tolist()


async def test_a_runtime_that_nobody_asks_is_called_as_ever():
    runtime = FakeRuntime()
    async with batching(runtime) as batcher:
        assert answers(await batcher.run(rows(1, 2, 3, 4, 5))) == [1, 2, 3, 4, 5]
    assert runtime.options == [UNTOLD, UNTOLD]


async def test_who_asks_gets_explanations_over_several_batches():
    runtime = FakeRuntime()
    async with batching(runtime) as batcher:
        ran = await batcher.run(rows(1, 2, 3, 4, 5), explain=True)
    assert (answers(ran), why(ran)) == ([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])
    assert runtime.batches == [[1, 2, 3, 4], [5]]


async def test_a_mixed_batch_is_run_for_those_that_did_not_ask_first():
    runtime = FakeRuntime(held=True)
    async with batching(runtime, max_batch_size=8) as batcher:
        first = await queued(batcher, rows(0))
        await begun(runtime)
        asked = await queued(batcher, rows(1, 2), explain=True)
        usual = await queued(batcher, rows(3))
        asked += await queued(batcher, rows(4), explain=True)
        usual += await queued(batcher, rows(5, 6))
        runtime.let_go()
        assert [(answers(await task), why(await task)) for task in asked] == [([1, 2], [10, 20]), ([4], [40])]
        assert [(answers(await task), "why" in (await task).outputs) for task in usual] == [
            ([3], False),
            ([5, 6], False),
        ]
        await first[0]
    assert runtime.batches == [[0], [3, 5, 6], [1, 2, 4]]
    assert runtime.options == [UNTOLD, UNTOLD, {"explain": True}]


async def test_an_explanation_that_fails_takes_nobody_with_it():
    class Unexplained(FakeRuntime):
        def run(self, inputs, **options):
            given = super().run(inputs, **options)
            if options and 13 in inputs["x"]:
                raise RuntimeError("can't say why")
            return given

    runtime, metrics = Unexplained(held=True), Metrics()
    async with batching(runtime, max_batch_size=8, metrics=metrics) as batcher:
        first = await queued(batcher, rows(0))
        await begun(runtime)
        unlucky, lucky = await queued(batcher, rows(13), rows(14), explain=True)
        usual = await queued(batcher, rows(13))
        runtime.let_go()
        with pytest.raises(RuntimeFailed, match="can't say why"):
            await unlucky
        assert (answers(await lucky), why(await lucky)) == ([14], [140])
        assert answers(await usual[0]) == [13]
        await first[0]
    assert metrics.registry.get_sample_value("convoy_batches_failed_total", {"model": "fake", "version": "1"}) == 1


async def test_a_mixed_batch_that_works_is_no_failed_one():
    runtime, metrics = FakeRuntime(held=True), Metrics()
    async with batching(runtime, metrics=metrics) as batcher:
        first = await queued(batcher, rows(0))
        await begun(runtime)
        both = await queued(batcher, rows(1)) + await queued(batcher, rows(2), explain=True)
        runtime.let_go()
        assert [answers(await task) for task in both] == [[1], [2]]
        await first[0]
    assert metrics.registry.get_sample_value("convoy_batches_failed_total", {"model": "fake", "version": "1"}) == 0


async def test_explanations_of_too_few_rows_are_refused():
    def forgetful(inputs):
        return echo(inputs) | {"more": np.zeros((1, 1))}

    async with batching(FakeRuntime(forgetful)) as batcher:
        with pytest.raises(RuntimeFailed, match="got 2 rows"):
            await batcher.run(rows(1, 2), explain=True)
