"""ClassifyStream: one stream's requests in, their answers out as they are ready.

A request takes one of the stream's places before it is read and gives it back when its answer was written, so a client
that sends faster than it is answered, or does not take its answers, is held back by gRPC's flow control and costs no
memory here. So is one whose requests in work leave no room for the next one, which waits for their answers. Every
request that was read gets exactly one answer, unless the caller leaves. Used by `service.api.classifier`. Belongs to
the event loop.
"""

import asyncio
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from protos.classifier.v1 import classifier_pb2 as pb
from service.api import encoding, messages
from service.api.status import Guard, outcome
from service.errors import MemoryFull, QueueFull, RequestInvalid
from service.inference.call import Call
from service.inference.dataplane import DataPlane
from service.inference.values import Answer, Request

METHOD = "ClassifyStream"

# Requests of one stream in work: enough that a stream of single pictures keeps a full batch of the usual size (32)
# gathering while another one runs.
PLACES = 64


class Stream:
    """One stream, from `serve`'s begin to its end."""

    def __init__(self, data_plane: DataPlane, guard: Guard, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        self.guard = guard
        self._data_plane = data_plane
        self._context = context
        self._places = asyncio.Semaphore(PLACES)
        self._open: set[_Item] = set()
        self._ended = asyncio.Event()
        """Set when a request in work has ended; cleared by who waits for that."""
        self._holds_back = False
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def serve(self) -> None:
        """Answers until the caller half-closes or leaves, or the server stops."""
        reading = asyncio.create_task(self._read())
        reading.add_done_callback(lambda _: self._answers.put_nowait(None))
        closing = asyncio.create_task(self._stop(reading))
        try:
            await self._write(reading)
        finally:
            closing.cancel()
            reading.cancel()
            for item in tuple(self._open):
                item.leave()
        error = self.guard.refusal(METHOD) if reading.cancelled() else reading.exception()
        if error is not None:
            await self._context.abort(*outcome(METHOD, error))

    def answer(self, item: "_Item", payload: bytes) -> None:
        """An item's answer, to be written in its turn."""
        self.forget(item)
        self._answers.put_nowait(payload)

    def forget(self, item: "_Item") -> None:
        """An item is not in work any more."""
        self._open.discard(item)
        self._ended.set()

    async def _write(self, reading: "asyncio.Task[None]") -> None:
        """Writes answers until all that was read is answered and nothing more is read."""
        while self._open or not self._answers.empty() or not reading.done():
            payload = await self._answers.get()
            if payload is not None:
                await self._context.write(payload)
                self._places.release()

    async def _stop(self, reading: "asyncio.Task[None]") -> None:
        """Ends the reading; a request that was read and still waits for room is begun before."""
        await self.guard.closing.wait()
        if not self._holds_back:
            reading.cancel()

    async def _read(self) -> None:
        """Takes requests while there are places, until the half-close. Raises what ends the stream."""
        while True:
            await self._places.acquire()
            payload: Any = await self._context.read()
            if payload is grpc.aio.EOF:
                return
            began = self.guard.accept(METHOD)
            await self._begin(payload, began)
            if self.guard.closing.is_set():
                raise self.guard.refusal(METHOD)

    async def _begin(self, payload: bytes, began: float) -> None:
        try:
            message = pb.ClassifyRequest.FromString(payload)
        except DecodeError as error:
            self.guard.ended(METHOD, grpc.StatusCode.INVALID_ARGUMENT, began)
            raise RequestInvalid("a message of the stream is not a ClassifyRequest") from error
        item = _Item(self, message.id, began)
        self._open.add(item)
        try:
            request = messages.request(message, self._context.time_remaining())
            while not self._begun(request, item):
                await self._ended.wait()
        except Exception as error:
            item.failed(error)
        finally:
            self._holds_back = False

    def _begun(self, request: Request, item: "_Item") -> bool:
        """Begins the item's call; False where there is no room for it beside what the stream itself has in work.

        Raises what `DataPlane.begin` raises, that there is no room only where the stream has nothing else in work.
        """
        self._ended.clear()
        try:
            call = self._data_plane.begin(request, item)
        except (MemoryFull, QueueFull):
            self._holds_back = len(self._open) > 1
            if self._holds_back:
                return False
            raise
        item.call = None if item.done() else call
        return True


class _Item:
    """The reply to one request of a stream, given exactly once."""

    __slots__ = ("_began", "_ended", "_id", "_stream", "call")

    def __init__(self, stream: Stream, number: int, began: float) -> None:
        self._stream = stream
        self._id = number
        self._began = began
        self._ended = False
        self.call: Call | None = None

    def done(self) -> bool:
        return self._ended

    def answered(self, answer: Answer) -> None:
        try:
            payload = encoding.response(answer, self._id)
        except Exception as error:
            self.failed(error)
        else:
            self._end(grpc.StatusCode.OK, payload)

    def failed(self, error: Exception) -> None:
        code, sentence = outcome(METHOD, error)
        said = pb.ClassifyResponse(id=self._id, error=pb.Error(code=code.value[0], message=sentence))
        self._end(code, said.SerializeToString())

    def leave(self) -> None:
        """The caller left: nothing more is done for it."""
        call = self.call
        self._end(grpc.StatusCode.CANCELLED, None)
        if call is not None:
            call.cancel()

    def _end(self, code: grpc.StatusCode, payload: bytes | None) -> None:
        if self._ended:
            return
        self._ended = True
        self.call = None  # item and call know each other: apart, they and the version go without the collector
        self._stream.guard.ended(METHOD, code, self._began)
        if payload is None:
            self._stream.forget(self)
        else:
            self._stream.answer(self, payload)
