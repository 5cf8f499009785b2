"""Work done ahead of its consumer, in order and bounded.

Owns the one loop by which a job reads and decodes in threads while the runtime is busy. The invariant: results come in
the order of the items, and at most `ahead` items wait, so a data set of any size needs the memory of a few batches.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

GROUP: Final = 4  # handing one small picture at a time to a thread costs more than reading it


def map_ahead(
    threads: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`function` of every item, in order, with up to `ahead` items begun beyond the one being waited for.

    Threads take the items in groups of `GROUP`. An exception of `function` ends the iteration. When the consumer stops,
    what has not begun is dropped.
    """
    source = iter(items)
    waiting: deque[Future[list[Result]]] = deque()
    try:
        while group := list(islice(source, GROUP)):
            waiting.append(threads.submit(_each, function, group))
            if len(waiting) * GROUP > ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _each(function: Callable[[Item], Result], group: list[Item]) -> list[Result]:
    return [function(item) for item in group]
