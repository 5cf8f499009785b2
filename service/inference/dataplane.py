"""The data plane, free of any wire: a request's values in, an answer's values out.

Leases the version, holds the request to its signature and the limits, decodes pictures in a thread pool (Pillow gives
the GIL back), sends rows to the batcher and picks the best classes for the whole call at once. A picture that can't be
used gets an error of its own. Called by every servicer in `service.api`.
"""

import asyncio
import math
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from bundle.errors import ImageError
from bundle.manifest import Head, Preprocessing
from bundle.postprocessing import top_k
from bundle.preprocessing import Limits, decode
from service.batching.entries import Ran
from service.inference.checks import by_name, check_input, checked_count, checked_top_k
from service.inference.values import Answer, HeadAnswer, Images, Request, Timing
from service.models.registry import Registry
from service.models.version import Servable
from service.runtimes.base import Array, Arrays
from service.runtimes.cores import usable_cores

T = TypeVar("T")


@dataclass(slots=True)
class _Part:
    """Rows of a call that travel together: the good ones' numbers and arrays, and the others' errors."""

    numbers: list[int] = field(default_factory=list)
    rows: dict[str, Array] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


class DataPlane:
    """Answers requests on the models of a registry."""

    def __init__(self, models: Registry, *, limits: Limits, max_images_per_call: int) -> None:
        self._models = models
        self._limits = limits
        self._max_images = max_images_per_call
        self._threads = usable_cores()
        self._decoders = ThreadPoolExecutor(self._threads, thread_name_prefix="convoy-decode")

    async def classify(self, request: Request) -> Answer:
        """Answers one call. Raises what `service.errors` and `service.models` say; a bad picture raises nothing."""
        with self._models.lease(request.model) as servable:
            inputs = by_name(request.inputs, servable)
            count = checked_count(inputs, self._max_images)
            k = checked_top_k(request.top_k, servable)
            for spec in servable.bundle.manifest.signature.inputs:
                check_input(spec, inputs[spec.name], servable)
            with servable.admit(count):
                parts, ran = await self._run(servable, inputs, count, request.deadline)
            return _answer(servable, count, k, parts, ran)

    def close(self) -> None:
        """Ends the decoding threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def _run(
        self, servable: Servable, inputs: Mapping[str, Images | Array], count: int, deadline: float
    ) -> tuple[list[_Part], list[Ran]]:
        """Decodes and runs the call's parts side by side; `ran` has one entry for each part with a usable picture."""
        if all(isinstance(values, np.ndarray) for values in inputs.values()):
            rows: Arrays = inputs  # type: ignore[assignment]  # mypy does not see through all()
            return [_Part(list(range(count)), dict(rows))], [await servable.batcher.run(rows, deadline)]
        numbers = _split(count, self._threads, servable.batcher.max_batch_size)
        done = await _all(self._run_part(servable, inputs, part, deadline) for part in numbers)
        return [part for part, _ in done], [ran for _, ran in done if ran is not None]

    async def _run_part(
        self, servable: Servable, inputs: Mapping[str, Images | Array], numbers: range, deadline: float
    ) -> tuple[_Part, Ran | None]:
        specs = {spec.input: spec for spec in servable.bundle.manifest.preprocessing}
        loop = asyncio.get_running_loop()
        part = await loop.run_in_executor(self._decoders, _decode, inputs, specs, numbers, self._limits)
        servable.metrics.preprocess.observe(part.seconds)
        ran = await servable.batcher.run(part.rows, deadline) if part.numbers else None
        return part, ran


async def _all(parts: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Runs the parts side by side; the first that fails cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _split(count: int, threads: int, most: int) -> list[range]:
    """Ranges that keep every decoding thread busy without a task for each picture."""
    size = max(1, min(most, math.ceil(count / (2 * threads))))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def _decode(
    inputs: Mapping[str, Images | Array], specs: Mapping[str, Preprocessing], numbers: range, limits: Limits
) -> _Part:
    """Decodes pictures in a thread: a picture that fails leaves the others alone."""
    began = time.monotonic()
    part = _Part()
    decoded: dict[str, list[Array]] = {name: [] for name in inputs}
    for number in numbers:
        try:
            row = {
                name: values[number] if isinstance(values, np.ndarray) else decode(values[number], specs[name], limits)
                for name, values in inputs.items()
            }
        except ImageError as error:
            part.errors[number] = str(error)
            continue
        part.numbers.append(number)
        for name, array in row.items():
            decoded[name].append(array)
    if part.numbers:
        part.rows = {name: np.stack(arrays) for name, arrays in decoded.items()}
    part.seconds = time.monotonic() - began
    return part


def _answer(servable: Servable, count: int, k: int, parts: Sequence[_Part], ran: Sequence[Ran]) -> Answer:
    errors = {number: text for part in parts for number, text in part.errors.items()}
    servable.metrics.images.inc(count - len(errors))
    servable.metrics.rejected.inc(len(errors))
    heads = servable.bundle.manifest.heads if ran else ()
    return Answer(
        name=servable.bundle.name,
        version=servable.bundle.version,
        count=count,
        heads=tuple(_head_answer(head, servable.labels[head.name], k, ran) for head in heads),
        errors=errors,
        timing=Timing(
            preprocess=max(part.seconds for part in parts),
            queue=max((part.queue_seconds for part in ran), default=0.0),
            compute=max((part.compute_seconds for part in ran), default=0.0),
        ),
    )


def _head_answer(head: Head, labels: tuple[str, ...], k: int, ran: Sequence[Ran]) -> HeadAnswer:
    outputs = [part.outputs[head.output] for part in ran]
    scores = outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
    indices, best = top_k(scores, min(k, len(labels)))
    return HeadAnswer(head.name, labels, indices, best)
