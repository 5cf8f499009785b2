"""When the plan of a version that serves is found: at once in the background, and again when the machine is calm.

The invariant: the version goes on whatever fails, one at a time changes its runtimes, and nothing that waits keeps an
unloaded version. A plan that was measured while others had the cores is provisional. It is measured again while it
serves, a few times at most, each after a while in which others, this server's own calls among them, left the cores
nearly alone. Owned by the loader; belongs to the event loop.
"""

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

from service.models.planning import machine
from service.models.planning.plan import Choice
from service.models.planning.planner import Task
from service.models.version import Servable

log = logging.getLogger(__name__)

CALM_SECONDS: Final = 60.0
TRIES: Final = 3


class Tuning:
    """`measure` gives a choice for a version, `go_over` has it served by one."""

    def __init__(
        self,
        measure: Callable[[Task], Awaitable[Choice]],
        go_over: Callable[[Servable, Task, Choice], Awaitable[None]],
    ) -> None:
        self._measure = measure
        self._go_over = go_over
        self._begun: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many are under way; those that wait for a calm machine are not."""
        return len(self._begun)

    def begin(self, servable: Servable, task: Task) -> None:
        """Has a version go over to the plan that is known or else measured, once proved."""
        _keep(self._begun, self._tune(servable, task))

    def settle(self, servable: Servable, task: Task) -> None:
        """Has a version whose plan is provisional measured again, later."""
        choice = servable.choice
        if task.measurable and choice is not None and choice.busy > machine.BUSY:
            _keep(self._waiting, self._again(weakref.ref(servable), task, choice))

    async def end(self) -> None:
        """Gives up what is under way or waits."""
        tunings = [*self._begun, *self._waiting]
        for tuning in tunings:
            tuning.cancel()
        await asyncio.gather(*tunings, return_exceptions=True)

    async def _tune(self, servable: Servable, task: Task) -> None:
        try:
            async with servable.tuning:
                await self._go_over(servable, task, await self._measure(task) if task.measurable else task.first)
        except Exception:
            log.exception("the better plan can't be used, the version goes on", extra=_names(task))
        else:
            self.settle(servable, task)

    async def _again(self, alive: "weakref.ref[Servable]", task: Task, served: Choice) -> None:
        """Until the plan is no longer provisional, or was changed by others, or the tries are over."""
        tries = TRIES
        while tries and alive() is not None:
            if not await machine.calm_for(CALM_SECONDS):
                continue
            tries -= 1
            choice = await self._try_again(alive, task, served)
            if choice is None or choice.busy <= machine.BUSY:
                return
            served = choice
        if not tries:
            log.info("the plan stays provisional until the version is loaded again", extra=_names(task))

    async def _try_again(self, alive: "weakref.ref[Servable]", task: Task, served: Choice) -> Choice | None:
        """What serves after one more measurement; None where `served` does no longer, or the measurement failed."""
        servable = alive()
        if servable is None:
            return None
        try:
            async with servable.tuning:
                if servable.batcher.stopped or servable.choice is not served:
                    return None
                choice = await self._measure(task)
                if choice.table and choice.busy < served.busy:
                    await self._go_over(servable, task, choice)
        except Exception:
            log.exception("the plan can't be measured again, the version goes on", extra=_names(task))
            return None
        return servable.choice


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _names(task: Task) -> dict[str, object]:
    return {"model": task.bundle.name, "version": task.bundle.version}
