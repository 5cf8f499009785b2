"""An instance that hangs or breaks is given up and replaced; the others go on, and every caller is answered."""

import asyncio
import threading
import time

import pytest
from batcher_callers import answers, batching, begun, queued, rows
from fake_runtime import FakeRuntime, echo
from servers import until

from service.batching import batcher as batcher_module
from service.batching import instances
from service.batching.batcher import Batcher
from service.batching.estimate import ENOUGH
from service.batching.instance import SUSPICIOUS, Prove
from service.batching.instances import LOST_AFTER, Renewal
from service.errors import ModelNotReady, RuntimeFailed
from service.models.quiet import Threads
from service.telemetry.metrics import Metrics

HOUR = 3600.0
TIMEOUT = 0.5  # of the watchdog, where one is to bite; a healthy fake takes microseconds
VERSION = {"model": "fake", "version": "1"}


def throws(_inputs: object) -> dict:
    raise ValueError("out of ideas")


class Clock:
    """A clock that can be put ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class Workshop:
    """Where new runtimes come from, one after the other; an exception is raised instead.

    They are opened as by the loader: in a thread, for `seconds` at most.
    """

    def __init__(
        self,
        *fresh: FakeRuntime | Exception,
        sound: bool = True,
        prove: Prove | None = None,
        seconds: float = HOUR,
    ) -> None:
        self.fresh = list(fresh)
        self.sound = sound
        self.opened = 0
        self.proved = 0
        self.renewal = Renewal(open=self._opening, prove=prove or self._prove)
        self.gate = threading.Event()
        self.gate.set()
        self._threads = Threads(seconds)

    async def _opening(self) -> FakeRuntime:
        return await self._threads.run("opening it", self._open, drop=FakeRuntime.close)

    def _open(self) -> FakeRuntime:
        self.opened += 1
        self.gate.wait()
        made = self.fresh.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    def _prove(self, _runtime: object) -> None:
        self.proved += 1
        if not self.sound:
            raise RuntimeFailed("the golden samples differ")


def watched(batcher: Batcher) -> list[str]:
    """What the batcher says is its problem, whenever that changes."""
    said: list[str] = []
    batcher.changed = lambda: said.append(batcher.problem)
    return said


async def test_a_runtime_that_hangs_fails_its_batch_and_is_replaced():
    stuck, fresh, metrics = FakeRuntime(held=True), FakeRuntime(), Metrics()
    workshop = Workshop(fresh)
    workshop.gate.clear()
    async with batching(stuck, timeout=TIMEOUT, renewal=workshop.renewal, metrics=metrics) as batcher:
        said = watched(batcher)
        running = await queued(batcher, rows(1))
        running += await queued(batcher, rows(2))
        await begun(stuck)
        failed, waiting = await asyncio.gather(*running, return_exceptions=True)
        assert isinstance(failed, RuntimeFailed)
        assert "did not finish a batch in 0.5 s (--batch-timeout)" in str(failed)
        assert isinstance(waiting, ModelNotReady)
        with pytest.raises(ModelNotReady, match="a new one is being opened"):
            await batcher.run(rows(3))
        assert batcher.renewing
        workshop.gate.set()
        await until(lambda: not batcher.problem)
        assert answers(await batcher.run(rows(4))) == [4]
        assert not stuck.closed
        stuck.let_go()
        await until(lambda: stuck.closed)
        assert answers(await batcher.run(rows(5))) == [5]
    assert [bool(problem) for problem in said] == [True, False]
    assert (stuck.batches, fresh.batches) == ([[1]], [[4], [5]])
    assert metrics.registry.get_sample_value("convoy_instances_lost_total", VERSION) == 1
    assert metrics.registry.get_sample_value("convoy_batches_failed_total", VERSION) == 1


async def test_what_is_lost_after_a_swap_is_replaced_by_the_swap_s_own_renewal():
    stuck, fresh = FakeRuntime(held=True), FakeRuntime()
    async with batching(FakeRuntime(), timeout=TIMEOUT, renewal=Workshop().renewal) as batcher:
        await batcher.swap([stuck], 4, Workshop(fresh).renewal)
        with pytest.raises(RuntimeFailed, match="did not finish a batch"):
            await batcher.run(rows(1))
        await until(lambda: not batcher.problem)
        assert answers(await batcher.run(rows(2))) == [2]
        stuck.let_go()
        await until(lambda: stuck.closed)
    assert fresh.closed


async def test_a_swap_mends_a_model_of_which_nothing_works():
    stuck, fresh = FakeRuntime(held=True), FakeRuntime()
    async with batching(stuck, timeout=TIMEOUT) as batcher:
        said = watched(batcher)
        with pytest.raises(RuntimeFailed):
            await batcher.run(rows(1))
        with pytest.raises(ModelNotReady):
            await batcher.run(rows(2))
        await batcher.swap([fresh], 4)
        assert answers(await batcher.run(rows(3))) == [3]
        stuck.let_go()
    assert [bool(problem) for problem in said] == [True, False]
    assert fresh.closed


async def test_the_others_go_on_while_one_hangs_and_the_model_stays_ready():
    stuck, fresh = FakeRuntime(held=True), FakeRuntime()
    other = FakeRuntime()
    async with batching(other, stuck, timeout=TIMEOUT, renewal=Workshop(fresh).renewal) as batcher:
        said = watched(batcher)
        hanging = asyncio.ensure_future(batcher.run(rows(1)))
        await begun(stuck)
        while not hanging.done():
            assert answers(await batcher.run(rows(2))) == [2]
        with pytest.raises(RuntimeFailed):
            await hanging
        await until(lambda: len(batcher._instances) == 2)
        assert answers(await batcher.run(rows(3))) == [3]
    assert not any(said)


async def test_each_batch_has_its_own_time():
    """One timer watches all instances: a batch that begins while another is watched is not given up with it."""
    runtimes = FakeRuntime(held=True), FakeRuntime(held=True)
    async with batching(*runtimes, timeout=TIMEOUT) as batcher:
        early = await queued(batcher, rows(1))
        began = time.monotonic()
        while time.monotonic() < began + TIMEOUT / 2:  # noqa: ASYNC110 - the clock has no event
            await asyncio.sleep(0.01)
        late = await queued(batcher, rows(2))
        await asyncio.wait(early)
        assert not late[0].done()
        with pytest.raises(RuntimeFailed):
            await late[0]
        assert time.monotonic() >= began + 1.5 * TIMEOUT
        assert isinstance(early[0].exception(), RuntimeFailed)


async def test_a_runtime_that_can_not_be_opened_is_tried_again(monkeypatch):
    monkeypatch.setattr(instances, "FIRST_RETRY_SECONDS", 0.01)
    stuck, fresh = FakeRuntime(held=True), FakeRuntime()
    workshop = Workshop(OSError("no device"), OSError("still none"), fresh)
    async with batching(stuck, timeout=TIMEOUT, renewal=workshop.renewal) as batcher:
        said = watched(batcher)
        with pytest.raises(RuntimeFailed):
            await batcher.run(rows(1))
        await until(lambda: not batcher.problem)
        assert answers(await batcher.run(rows(2))) == [2]
    assert "a new one is being opened" in said[0]
    assert said[1:] == [
        "its runtime was lost and can't be opened again: OSError: no device",
        "its runtime was lost and can't be opened again: OSError: still none",
        "",
    ]


async def test_where_none_is_left_a_retry_for_an_earlier_one_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(instances, "FIRST_RETRY_SECONDS", HOUR)
    runtimes = FakeRuntime(held=True), FakeRuntime(held=True)
    workshop = Workshop(OSError("no device"), FakeRuntime(), FakeRuntime())
    async with batching(*runtimes, timeout=TIMEOUT, renewal=workshop.renewal) as batcher:
        said = watched(batcher)
        with pytest.raises(RuntimeFailed):
            await batcher.run(rows(1))
        await until(lambda: batcher._instances._retry is not None)
        with pytest.raises(RuntimeFailed):
            await batcher.run(rows(2))
        await until(lambda: len(batcher._instances) == 2)
        assert answers(await batcher.run(rows(3))) == [3]
        for runtime in runtimes:
            runtime.let_go()
    assert "a new one is being opened" in said[0]
    assert not any(said[1:])
    assert workshop.opened == 3


async def test_an_opening_that_hangs_is_given_up_told_and_tried_again_and_its_late_runtime_is_closed(monkeypatch):
    monkeypatch.setattr(instances, "FIRST_RETRY_SECONDS", 0.01)
    stuck, late = FakeRuntime(held=True), FakeRuntime()
    workshop = Workshop(late, *[FakeRuntime() for _ in range(20)], seconds=0.2)
    workshop.gate.clear()
    async with batching(stuck, timeout=TIMEOUT, renewal=workshop.renewal) as batcher:
        said = watched(batcher)
        with pytest.raises(RuntimeFailed):
            await batcher.run(rows(1))
        await until(lambda: len(said) == 2)
        with pytest.raises(ModelNotReady, match="can't be opened again"):
            await batcher.run(rows(2))
        assert not batcher.renewing
        workshop.gate.set()
        await until(lambda: not batcher.problem)
        assert answers(await batcher.run(rows(3))) == [3]
        await until(lambda: late.closed)
    assert "a new one is being opened" in said[0]
    assert "opening it took over 0.2 s (--load-timeout) and was given up; it may hang" in said[1]
    assert (stuck.batches, late.batches, said[-1]) == ([[1]], [], "")


async def test_what_can_not_be_opened_again_and_again_is_lost_until_it_can(monkeypatch):
    monkeypatch.setattr(instances, "FIRST_RETRY_SECONDS", 0.01)
    stuck, fresh = FakeRuntime(held=True), FakeRuntime()
    workshop = Workshop(*[OSError("no device")] * LOST_AFTER, fresh)
    async with batching(stuck, timeout=TIMEOUT, renewal=workshop.renewal) as batcher:
        lost: list[bool] = []
        batcher.changed = lambda: lost.append(batcher.lost)
        with pytest.raises(RuntimeFailed):
            await batcher.run(rows(1))
        await until(lambda: not batcher.problem)
    assert lost == [False] * LOST_AFTER + [True, False]


async def test_while_one_instance_works_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(instances, "FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(instances, "LAST_RETRY_SECONDS", 0.001)
    stuck, other = FakeRuntime(held=True), FakeRuntime()
    workshop = Workshop(*[OSError("no device")] * 2 * LOST_AFTER, FakeRuntime())
    async with batching(other, stuck, timeout=TIMEOUT, renewal=workshop.renewal) as batcher:
        hanging = asyncio.ensure_future(batcher.run(rows(1)))
        await begun(stuck)
        while workshop.fresh:
            assert answers(await batcher.run(rows(2))) == [2]
            assert not batcher.lost
        with pytest.raises(RuntimeFailed):
            await hanging


async def test_a_runtime_that_throws_again_and_again_and_fails_its_proof_is_replaced():
    broken, fresh = FakeRuntime(throws), FakeRuntime()
    workshop = Workshop(fresh, sound=False)
    async with batching(broken, renewal=workshop.renewal) as batcher:
        said = watched(batcher)
        for number in range(SUSPICIOUS):
            with pytest.raises(RuntimeFailed, match="out of ideas"):
                await batcher.run(rows(number))
        await until(lambda: len(said) == 2)
        assert "the golden samples differ" in said[0]
        assert answers(await batcher.run(rows(9))) == [9]
        await until(lambda: broken.closed)
    assert (workshop.proved, said[1]) == (1, "")


@pytest.mark.parametrize("sound", [True, False])
async def test_nothing_is_given_to_an_instance_that_proves_itself(sound):
    """Nor does anybody whose batch failed wait for the proof, and its time is not a batch's.

    What comes meanwhile waits, and is told to ask again where the proof fails: it was never begun.
    """
    broken, fresh, proving, may = FakeRuntime(throws), FakeRuntime(), threading.Event(), threading.Event()

    def prove(_runtime: object) -> None:
        proving.set()
        may.wait()
        if not sound:
            raise RuntimeFailed("the golden samples differ")
        broken._answer = echo

    async with batching(broken, timeout=TIMEOUT, renewal=Workshop(fresh, prove=prove).renewal) as batcher:
        said = watched(batcher)
        for number in range(SUSPICIOUS):
            with pytest.raises(RuntimeFailed, match="out of ideas"):
                await batcher.run(rows(number))
        assert not may.is_set()
        await until(proving.is_set)
        [waiting] = await queued(batcher, rows(8))
        began = time.monotonic()
        while time.monotonic() < began + 1.5 * TIMEOUT:  # noqa: ASYNC110 - the clock has no event
            await asyncio.sleep(0.01)
        assert (said, waiting.done()) == ([], False)
        may.set()
        if sound:
            assert answers(await waiting) == [8]
            assert said == []
        else:
            with pytest.raises(ModelNotReady, match="the golden samples differ"):
                await waiting
            assert [8] not in broken.batches


@pytest.mark.parametrize("stopped", [True, False])
async def test_a_proof_that_hangs_holds_up_neither_a_stop_nor_the_model_for_ever(monkeypatch, stopped):
    monkeypatch.setattr(instances, "PROOF_TIMEOUTS", 1e6 if stopped else 2)
    broken, fresh, metrics = FakeRuntime(throws), FakeRuntime(), Metrics()
    proving, may = threading.Event(), threading.Event()

    def prove(_runtime: object) -> None:
        proving.set()
        may.wait()

    renewal = Workshop(fresh, prove=prove).renewal
    async with batching(broken, timeout=TIMEOUT, renewal=renewal, metrics=metrics) as batcher:
        said = watched(batcher)
        for number in range(SUSPICIOUS):
            with pytest.raises(RuntimeFailed):
                await batcher.run(rows(number))
        await until(proving.is_set)
        if stopped:
            await batcher.stop()
        else:
            await until(lambda: len(said) == 2)
            assert "did not finish its proof" in said[0]
            assert answers(await batcher.run(rows(9))) == [9]
        assert metrics.registry.get_sample_value("convoy_instances_lost_total", VERSION) == 1
        may.set()
        await until(lambda: broken.closed)


async def test_the_time_without_a_runtime_is_not_the_throughput_of_the_next(monkeypatch):
    """Else calls with deadlines would be refused for many batches."""
    clock = Clock()
    monkeypatch.setattr(batcher_module, "time", clock)
    broken, fresh = FakeRuntime(throws), FakeRuntime()
    workshop = Workshop(fresh, sound=False)
    workshop.gate.clear()
    async with batching(broken, max_batch_size=1, renewal=workshop.renewal) as batcher:
        await asyncio.gather(*[batcher.run(rows(number)) for number in range(SUSPICIOUS)], return_exceptions=True)
        await until(lambda: batcher.problem)
        clock.ahead = HOUR
        workshop.gate.set()
        await until(lambda: not batcher.problem)
        await asyncio.gather(*[batcher.run(rows(number)) for number in range(ENOUGH + 1)])
        assert 0 < batcher.throughput.seconds_per_row < HOUR / 100


async def test_what_failed_is_no_throughput():
    async with batching(FakeRuntime(throws), max_batch_size=1) as batcher:
        await asyncio.gather(*[batcher.run(rows(number)) for number in range(2 * ENOUGH)], return_exceptions=True)
        assert batcher.throughput.seconds_per_row == 0


async def test_a_late_batch_of_those_before_a_swap_is_no_throughput_of_those_after(monkeypatch):
    old, new = FakeRuntime(held=True), FakeRuntime()
    async with batching(old) as batcher:
        running = await queued(batcher, rows(1))
        await begun(old)
        swapping = asyncio.ensure_future(batcher.swap([new], 4))
        await until(lambda: len(batcher._instances.idle) == 1)
        observed = []
        monkeypatch.setattr(batcher.throughput, "observe", lambda *rows, **_: observed.append(rows))
        old.let_go()
        await asyncio.gather(*running, swapping)
        assert not observed
        await batcher.run(rows(2))
        assert len(observed) == 1


async def test_rows_that_no_runtime_can_run_do_not_cost_the_model_its_runtime():
    runtime = FakeRuntime(lambda inputs: throws(inputs) if 0 in inputs["x"] else {"y": inputs["x"].copy()})
    workshop = Workshop()
    async with batching(runtime, renewal=workshop.renewal) as batcher:
        said = watched(batcher)
        for _ in range(3 * SUSPICIOUS):
            with pytest.raises(RuntimeFailed):
                await batcher.run(rows(0))
        assert answers(await batcher.run(rows(1))) == [1]
    assert (workshop.proved, said) == (3, [])


async def test_failures_that_are_not_in_a_row_need_no_proof():
    runtime = FakeRuntime(lambda inputs: throws(inputs) if 0 in inputs["x"] else {"y": inputs["x"].copy()})
    workshop = Workshop()
    async with batching(runtime, renewal=workshop.renewal) as batcher:
        for number in [0, 0, 1] * SUSPICIOUS:
            await asyncio.gather(batcher.run(rows(number)), return_exceptions=True)
    assert workshop.proved == 0


async def test_a_stop_does_not_wait_for_a_runtime_that_hangs_longer_than_the_watchdog_does():
    stuck = FakeRuntime(held=True)
    workshop = Workshop()
    async with batching(stuck, timeout=TIMEOUT, renewal=workshop.renewal) as batcher:
        running = await queued(batcher, rows(1))
        await begun(stuck)
        await batcher.stop()
        with pytest.raises(RuntimeFailed):
            await running[0]
    await until(lambda: stuck.closed)


async def test_a_runtime_that_is_opened_after_the_stop_is_closed():
    stuck, late = FakeRuntime(held=True), FakeRuntime()
    workshop = Workshop(late)
    workshop.gate.clear()
    async with batching(stuck, timeout=TIMEOUT, renewal=workshop.renewal) as batcher:
        with pytest.raises(RuntimeFailed):
            await batcher.run(rows(1))
        await until(lambda: workshop.opened)
        await batcher.stop()
        workshop.gate.set()
        await until(lambda: late.closed)


async def test_a_batch_that_is_cut_in_halves_is_given_up_with_its_instance():
    """The thread does not go on to run the halves of a batch whose callers have been answered."""
    runtime = FakeRuntime(throws, held=True)
    async with batching(runtime, timeout=TIMEOUT) as batcher:
        first = await queued(batcher, rows(0))
        await begun(runtime)
        tasks = await queued(batcher, *[rows(number) for number in range(1, 5)])
        runtime.release(2)  # the first batch, and the second one whole
        ends = await asyncio.gather(*first, *tasks, return_exceptions=True)
        assert all(isinstance(each, RuntimeFailed) for each in ends)
        runtime.let_go()
        await until(lambda: runtime.closed)
    assert runtime.batches == [[0], [1, 2, 3, 4], [1, 2]]
