"""One task a model that brings it to what the repository holds, so that none of them can hold up the others for long.

They are begun one after the other, as loading is to be quiet; where one takes longer than `patience`, the next one
begins beside it. The first look waits for all of them, later ones don't. Owned by the registry; belongs to the event
loop.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Final

from service.models.repository import PublishedModel

PATIENCE_SECONDS: Final = 10.0


class Following:
    """Runs `follow` for every model, once at a time."""

    def __init__(self, follow: Callable[[PublishedModel], Coroutine[None, None, None]], patience: float) -> None:
        self._follow = follow
        self._patience = patience
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._looked = False
        self._raised: list[BaseException] = []

    async def look(self, found: Sequence[PublishedModel]) -> None:
        """Follows each model that is not being followed.

        Raises what a `follow` raised, of earlier looks too, the first of several: once every model had its turn.
        """
        for model in found:
            self._clear(model.name)
            if model.name not in self._tasks:
                task = self._tasks[model.name] = asyncio.get_running_loop().create_task(self._follow(model))
                await asyncio.wait([task], timeout=self._patience)
        if not self._looked and self._tasks:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
        self._looked = True
        for name in list(self._tasks):
            self._clear(name)
        if self._raised:
            raised, self._raised = self._raised, []
            raise raised[0]

    async def stop(self) -> None:
        """Gives up what is under way."""
        for task in list(self._tasks.values()):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    def _clear(self, name: str) -> None:
        """Forgets the model's task if it has ended, and keeps what it raised."""
        task = self._tasks.get(name)
        if task is None or not task.done():
            return
        del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._raised.append(error)
