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

    async def look(self, found: Sequence[PublishedModel]) -> None:
        """Follows each model that is not being followed. Raises what a `follow` raises, of earlier looks too."""
        for model in found:
            if self._ended(model.name):
                task = self._tasks[model.name] = asyncio.get_running_loop().create_task(self._follow(model))
                await asyncio.wait([task], timeout=self._patience)
                self._ended(model.name)
        if not self._looked:
            await asyncio.gather(*self._tasks.values())
            self._looked = True

    async def stop(self) -> None:
        """Gives up what is under way."""
        for task in list(self._tasks.values()):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    def _ended(self, name: str) -> bool:
        """Whether the model is not being followed; raises what that ended with."""
        task = self._tasks.get(name)
        if task is not None and task.done():
            del self._tasks[name]
            task.result()
        return name not in self._tasks
