"""One admitted call, and the answer that is made of what its pictures gave.

A call holds a lease of its version, a place for every picture and room for its bytes, and gives them back exactly once,
however it ends. Calls whose rows ran in one batch share what is made of the batch's outputs: the best classes are put
into an answer once for all of them. Made by `service.inference.dataplane`, told by the batcher. Belongs to the event
loop.
"""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from bundle.manifest import Head
from bundle.postprocessing import abstained, top_k
from service.batching.entries import Entry, Ran
from service.inference.decoding import Part
from service.inference.pending import PendingBytes
from service.inference.values import Answer, Best, HeadAnswer, Reply
from service.models.ranked import indices_of, maps_of, scores_of
from service.models.version import DEFAULT_TOP_K, ModelVersion, Servable
from service.runtimes.base import Arrays

_NONE: Mapping[int, str] = {}


class Call:
    """One admitted call: a lease, a place for each of its pictures, and the reply that it owes.

    It is the batcher's waiter for rows that go there together, `parts` where they were decoded from pictures; `cancel`
    is for a caller that leaves.
    """

    __slots__ = (
        "_count", "_k", "_pending", "_reply", "_servable", "_size", "_version", "decoding", "entry", "parts", "task"
    )  # fmt: skip

    def __init__(
        self,
        version: ModelVersion,
        servable: Servable,
        count: int,
        k: int,
        *,
        reply: Reply,
        pending: PendingBytes,
        size: int,
    ) -> None:
        """`size` bytes are counted as `pending` until it ends."""
        self._version: ModelVersion | None = version
        self._servable = servable
        self._count = count
        self._k = k
        self._reply = reply
        self._pending = pending
        self._size = size
        pending.add(size)
        self.task: asyncio.Task[None] | None = None
        self.decoding: Sequence[asyncio.Future[Part]] = ()
        self.parts: tuple[Part, ...] = ()
        self.entry: Entry | None = None

    def done(self) -> bool:
        """Whether it has ended or its caller has left."""
        return self._version is None or self._reply.done()

    def set_result(self, ran: Ran, /) -> None:
        """Answers a call whose rows ran together."""
        self.answer(self.parts, (ran,))

    def set_exception(self, error: Exception, /) -> None:
        """Ends the call with an error."""
        if self._end():
            self._reply.failed(error)

    def answer(self, parts: Sequence[Part], ran: Sequence[Ran]) -> None:
        """Ends the call with the answer made of its parts."""
        if not self._end():
            return
        try:
            answer = _answer(self._servable, self._count, self._k, parts, ran)
        except Exception as error:
            self._reply.failed(error)
        else:
            self._reply.answered(answer)

    def cancel(self) -> None:
        """Ends the call without an answer: its caller has left."""
        entry = self.entry
        if self._end() and entry is not None:
            self._servable.batcher.leave(entry)
        for part in self.decoding:  # where there is a task, it may not have come to wait for them
            part.cancel()
        if self.task is not None:
            self.task.cancel()

    def _end(self) -> bool:
        """Gives lease, places and room back; False where that was done before."""
        if self._version is None:
            return False
        self._servable.release(self._count)
        self._pending.release(self._size)
        self._version.release()
        self._version = None
        self.entry = None  # which knows this call: the two must not keep the request's bytes alive
        return True


def _answer(servable: Servable, count: int, k: int, parts: Sequence[Part], ran: Sequence[Ran]) -> Answer:
    errors = {number: text for part in parts for number, text in part.errors.items()} if parts else _NONE
    servable.metrics.images.inc(count - len(errors))
    if errors:
        servable.metrics.rejected.inc(len(errors))
    best, first = _best(servable, k, ran)
    preprocess, queue, compute = 0.0, 0.0, 0.0
    for part in parts:
        preprocess = max(preprocess, part.seconds)
    for each in ran:
        queue, compute = max(queue, each.queue_seconds), max(compute, each.compute_seconds)
    return Answer(servable, count, best, first, errors, preprocess, queue, compute)


def _best(servable: Servable, k: int, ran: Sequence[Ran]) -> tuple[Best, int]:
    """The best classes of rows that stand one after the other, and where they begin."""
    if not ran:
        return Best(()), 0
    if len(ran) > 1:
        names = ran[0].batch.outputs
        return _ranked(servable, k, {name: np.concatenate([part.outputs[name] for part in ran]) for name in names}), 0
    (only,) = ran
    if k > DEFAULT_TOP_K:  # which is ranked here: not for those who did not ask for so many
        return _ranked(servable, k, only.outputs), 0
    best = only.batch.best.get(k)
    if best is None:
        best = only.batch.best[k] = _ranked(servable, k, only.batch.outputs)
    return best, only.first


def _ranked(servable: Servable, k: int, outputs: Arrays) -> Best:
    heads = servable.bundle.manifest.heads
    return Best([_head_answer(head, servable.labels[head.name], k, outputs) for head in heads])


def _head_answer(head: Head, labels: tuple[str, ...], k: int, outputs: Arrays) -> HeadAnswer:
    """The head's best classes: those that the batch ranked, or ranked here where more are asked for."""
    k = min(k, len(labels))
    if k <= DEFAULT_TOP_K:
        indices, scores = outputs[indices_of(head.name)][:, :k], outputs[scores_of(head.name)][:, :k]
    else:
        indices, scores = top_k(outputs[head.output], k)
    maps = outputs[name][:, :k] if (name := maps_of(head.name)) in outputs else None
    unsure = None if head.abstain_below is None else abstained(scores[:, 0], head.abstain_below)
    return HeadAnswer(head.name, labels, indices, scores, maps, unsure)
