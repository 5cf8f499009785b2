"""The data plane, free of any wire: a request's values in, an answer's values out.

Leases the version, holds the request to its signature and the limits, takes places and room for bytes, has pictures
decoded and rows batched, and gives all of that back exactly once, however the call ends. Tensors go through without a
task of their own. Called by every servicer and transport in `service.api`. Belongs to the event loop.
"""

import asyncio
import math
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast
from weakref import ref

import numpy as np

from bundle.preprocessing import Limits
from service.batching.batcher import Batcher
from service.batching.entries import Priority, Ran
from service.errors import DeadlinePassed
from service.inference.call import Call
from service.inference.checks import by_name, check_explain, check_input, checked_count, checked_top_k
from service.inference.decoders import Decoders
from service.inference.decoding import Part, Pictures, split, work_of_each
from service.inference.pending import PendingBytes
from service.inference.room import Room
from service.inference.values import Answer, Images, Reply, Request
from service.models.registry import Registry
from service.models.version import Servable
from service.runtimes.base import Array, Arrays
from service.runtimes.usable import usable_cores

T = TypeVar("T")


class DataPlane:
    """Answers requests on the models of a registry."""

    def __init__(
        self,
        models: Registry,
        *,
        limits: Limits,
        max_images_per_call: int,
        threads: int = 0,
        room: Room | None = None,
        pending: PendingBytes | None = None,
    ) -> None:
        """`threads` decode pictures, 0: one for each usable core; `room` bounds what they do at once.

        `pending` bounds the bytes of what is accepted.
        """
        self._models = models
        self._max_images = max_images_per_call
        self._limits = limits
        self._threads = threads or usable_cores()
        self._decoders = Decoders(self._threads, limits, room or Room())
        self._pending = pending or PendingBytes()

    async def classify(self, request: Request) -> Answer:
        """Answers one call. Raises what `begin` raises and what a batch fails with; a bad picture raises nothing."""
        reply = _Awaited()
        call = self.begin(request, reply)
        try:
            return await reply.future
        except asyncio.CancelledError:
            call.cancel()
            raise

    def begin(self, request: Request, reply: Reply) -> Call:
        """Admits a call, whose reply is given later.

        Raises RequestInvalid, ModelNotFound, ModelNotReady, QueueFull, MemoryFull or CannotMeetDeadline.
        """
        version = self._models.find(request.model)
        servable = version.acquire()
        try:
            inputs, count, k = self._checked(request, servable)
            size = _size(inputs)
            self._pending.check(size, request.priority, servable.batcher.retry_after)
            rows = _as_rows(inputs)
            pictures: Pictures | None = None
            if rows is None:
                pictures = self._admitted(servable, inputs, count, request)
            else:
                servable.batcher.check_at_door(count, request.deadline, request.priority)
            servable.admit(count, request.priority)
        except BaseException:
            version.release()
            raise
        call = Call(version, servable, count, k, reply=reply, pending=self._pending, size=size)
        try:  # from here on lease and places are the call's, which gives them back however it ends
            if pictures is not None:
                self._begin_decoding(call, servable, pictures, request)
            elif rows is not None:
                call.entry = servable.batcher.submit(
                    rows, request.deadline, call, request.priority, explain=request.explain
                )
        except BaseException:
            call.cancel()
            raise
        return call

    def close(self) -> None:
        """Ends the decoding threads."""
        self._decoders.close()

    def _checked(self, request: Request, servable: Servable) -> tuple[Mapping[str, Images | Array], int, int]:
        """The inputs by name, how many pictures and how many classes. Raises RequestInvalid."""
        form = request.form
        if form is not None and form.seen is not None and form.seen.by() is servable:
            (values,) = request.inputs.values()
            return {form.seen.name: values}, form.seen.count, form.seen.k
        inputs = by_name(request.inputs, servable)
        count = checked_count(inputs, self._max_images)
        k = checked_top_k(request.top_k, servable)
        for spec in servable.bundle.manifest.signature.inputs:
            check_input(spec, inputs[spec.name], servable)
        if request.explain:
            check_explain(servable)
        if form is not None:
            form.seen = _Seen(ref(servable), next(iter(inputs)), count, k)
        return inputs, count, k

    def _admitted(
        self, servable: Servable, inputs: Mapping[str, Images | Array], count: int, request: Request
    ) -> Pictures:
        """A call's pictures, and what decoding them costs. Raises CannotMeetDeadline where it's no use to begin."""
        work = work_of_each(inputs, count, self._limits)
        parts = split(work, self._threads, servable.batcher.max_batch_size)
        if request.deadline != math.inf:
            decoding = self._decoders.seconds(request.priority, sum(work), len(parts))
            servable.batcher.check_at_door(count, request.deadline, request.priority, decoding)
        specs = {spec.input: spec for spec in servable.bundle.manifest.preprocessing}
        return Pictures(inputs, specs, work, parts)

    def _begin_decoding(
        self,
        call: Call,
        servable: Servable,
        pictures: Pictures,
        request: Request,
    ) -> None:
        """Has the parts decoded, and what they give run when it is there."""
        call.decoding = self._decode(call, servable, pictures, request)
        if len(pictures.parts) == 1:
            call.decoding[0].add_done_callback(partial(self._decoded, call, servable, request))
        else:
            call.task = asyncio.get_running_loop().create_task(self._classify(call, servable, request))

    def _decode(
        self,
        call: Call,
        servable: Servable,
        pictures: Pictures,
        request: Request,
    ) -> list[asyncio.Future[Part]]:
        """Puts the parts into their line now, so that the next call is reckoned behind them."""
        line = call if request.priority is Priority.INTERACTIVE else Priority.BATCH
        decoding = []
        for numbers in pictures.parts:
            count = len(numbers)
            check = partial(_check_turn, servable.batcher, count, request)
            part = self._decoders.decode(line, pictures, numbers, check)
            servable.batcher.expect(count, request.priority)
            part.add_done_callback(partial(_arrived, servable.batcher, count, request.priority))
            decoding.append(part)
        return decoding

    def _decoded(self, call: Call, servable: Servable, request: Request, decoding: asyncio.Future[Part]) -> None:
        """Has the pictures of a call of one part run, without a task of its own."""
        if call.done():
            return
        try:
            part = decoding.result()
            servable.metrics.preprocess.observe(part.seconds)
            call.parts = (part,)
            if not part.numbers:
                call.answer(call.parts, ())
                return
            servable.batcher.check_deadline(len(part.numbers), request.deadline, request.priority)
            call.entry = servable.batcher.submit(
                part.rows, request.deadline, call, request.priority, explain=request.explain
            )
        except Exception as error:
            call.set_exception(error)

    async def _classify(self, call: Call, servable: Servable, request: Request) -> None:
        """Runs the call's parts side by side, each when it is decoded."""
        try:
            done = await _all(self._run_part(part, servable, request) for part in call.decoding)
        except Exception as error:
            call.set_exception(error)
        else:
            call.answer([part for part, _ in done], [ran for _, ran in done if ran is not None])

    async def _run_part(
        self, decoding: asyncio.Future[Part], servable: Servable, request: Request
    ) -> tuple[Part, Ran | None]:
        part = await decoding
        servable.metrics.preprocess.observe(part.seconds)
        if not part.numbers:
            return part, None
        return part, await servable.batcher.run(part.rows, request.deadline, request.priority, explain=request.explain)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a request of some form was found to be by a version: the name of its input, the pictures, the classes."""

    by: ref[Servable]
    name: str
    count: int
    k: int


def _size(inputs: Mapping[str, Images | Array]) -> int:
    """The bytes that a call brought."""
    size = 0
    for values in inputs.values():
        size += values.nbytes if isinstance(values, np.ndarray) else sum(map(len, values))
    return size


def _as_rows(inputs: Mapping[str, Images | Array]) -> Arrays | None:
    """The inputs, where all are tensors; None where there are pictures to decode."""
    for values in inputs.values():
        if not isinstance(values, np.ndarray):
            return None
    return cast("Arrays", inputs)


class _Awaited:
    """A reply that a coroutine awaits."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def done(self) -> bool:
        return self.future.done()

    def answered(self, answer: Answer) -> None:
        if not self.future.done():
            self.future.set_result(answer)

    def failed(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def _check_turn(batcher: Batcher, count: int, request: Request) -> None:
    """Asked when it's the turn of pictures to be decoded: raises where that would be for nothing."""
    if request.deadline < time.monotonic():
        raise DeadlinePassed("the deadline passed while the pictures waited to be decoded; nothing was executed")
    batcher.check_deadline(count, request.deadline, request.priority)


def _arrived(batcher: Batcher, count: int, priority: Priority, _part: asyncio.Future[Part]) -> None:
    """Pictures are no longer on their way to the batcher: decoded, dropped, or their caller left."""
    batcher.expect(-count, priority)


async def _all(parts: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Runs the parts side by side; the first that fails cancels the others and is raised."""
    listed = list(parts)
    if len(listed) == 1:
        return [await listed[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in listed]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
