"""The one table from our errors to gRPC codes, and the guard through which every call is answered.

A known error reaches the client with its sentence; an unknown one as INTERNAL with a bland message, and the log has the
traceback. A sentence that quotes a caller's long text is cut, because it travels in a header. Every call is counted
once, by method and code. A server that stops closes its guard first: calls are then refused in a way that clients
repeat elsewhere, where gRPC's own stop would cancel those it has received and not yet handed over (grpc/grpc#41785).
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf import any_pb2

from protos.rpc.v1 import status_pb2 as rpc
from service import errors
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

Code = grpc.StatusCode
Reply = TypeVar("Reply")

# After the last answer, calls may still come from the socket. A look that has seen none for this long ends the wait,
# and so does the last look: a client that goes on asking must not keep the server.
QUIET_SECONDS = 0.02
LOOKS = 50

# gRPC sends the sentence as one percent-encoded header, and clients refuse headers that are over 8 KiB in all.
MOST_CHARACTERS = 800

RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"

CODES: dict[type[errors.ServiceError], grpc.StatusCode] = {
    errors.RequestInvalid: Code.INVALID_ARGUMENT,
    errors.ModelNotFound: Code.NOT_FOUND,
    errors.ModelNotReady: Code.UNAVAILABLE,
    errors.LabelRefused: Code.FAILED_PRECONDITION,
    errors.NotAllowed: Code.PERMISSION_DENIED,
    errors.QueueFull: Code.RESOURCE_EXHAUSTED,
    errors.MemoryFull: Code.RESOURCE_EXHAUSTED,
    errors.CannotMeetDeadline: Code.RESOURCE_EXHAUSTED,
    errors.DeadlinePassed: Code.DEADLINE_EXCEEDED,
    errors.ModelUnusable: Code.FAILED_PRECONDITION,
    errors.FilesIncomplete: Code.FAILED_PRECONDITION,
    errors.RuntimeFailed: Code.INTERNAL,
}


def outcome(method: str, error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The code and the sentence with which an error ends a call; what is unknown is logged and said blandly."""
    if isinstance(error, errors.ServiceError):
        return CODES.get(type(error), Code.INTERNAL), _cut(str(error))
    log.error("call failed", extra={"method": method}, exc_info=error)
    return Code.INTERNAL, f"{method} failed inside the server; its log has the details"


def trailers(error: BaseException) -> tuple[tuple[str, bytes], ...]:
    """The metadata that ends a call beside its status: when to try again, for those who know google.rpc.RetryInfo."""
    if not isinstance(error, errors.QueueFull | errors.MemoryFull | errors.CannotMeetDeadline):
        return ()
    code, sentence = outcome("", error)
    retry = rpc.RetryInfo()
    retry.retry_delay.FromNanoseconds(round(error.retry_after * 1e9))
    detail = any_pb2.Any(type_url=RETRY_INFO, value=retry.SerializeToString())
    status = rpc.Status(code=code.value[0], message=sentence, details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)


class Guard:
    """Stands before every call: refuses when the server stops, counts what runs, maps errors. On the event loop."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._running = 0
        self._refused = 0
        self._closed = False
        self.closing = asyncio.Event()
        """Set once the guard is closed, for calls that would otherwise go on."""
        self._idle = asyncio.Event()

    async def close(self, seconds: float) -> None:
        """Refuses new calls from now on, and waits until those that run are answered, for so long at most."""
        self._closed = True
        self.closing.set()
        if self._running:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), seconds)
        for _ in range(LOOKS):
            seen = self._refused
            await asyncio.sleep(QUIET_SECONDS)
            if seen == self._refused:
                break

    def accept(self, method: str) -> float:
        """Counts a call as running, until `ended`; gives its begin. Raises ModelNotReady once the guard is closed."""
        if self._closed:
            raise self.refusal(method)
        self._running += 1
        return time.monotonic()

    def refusal(self, method: str) -> errors.ModelNotReady:
        """Counts a call that a closed guard does not let in, and says why."""
        self._refused += 1
        self._metrics.call(method, Code.UNAVAILABLE.name).observe(0.0)
        return errors.ModelNotReady("the server is stopping; ask another one")

    def ended(self, method: str, code: grpc.StatusCode, began: float) -> None:
        """Counts an accepted call as over."""
        name = "OK" if code is Code.OK else code.name  # which an Enum takes half a microsecond to tell
        self._metrics.call(method, name).observe(time.monotonic() - began)
        self._running -= 1
        if self._closed and not self._running:
            self._idle.set()

    async def answer(
        self, method: str, context: "grpc.aio.ServicerContext[Any, Reply]", reply: Coroutine[None, None, Reply]
    ) -> Reply:
        """Awaits the reply of one call, or ends the call with its error's code and sentence."""
        try:
            began = self.accept(method)
        except errors.ModelNotReady as error:
            reply.close()
            return await context.abort(*outcome(method, error))
        code, message = Code.OK, ""
        metadata: tuple[tuple[str, bytes], ...] = ()
        try:
            return await reply
        except asyncio.CancelledError:
            code = Code.CANCELLED
            raise
        except Exception as error:
            code, message = outcome(method, error)
            metadata = trailers(error)
        finally:
            self.ended(method, code, began)
        return await context.abort(code, message, metadata)


def _cut(sentence: str) -> str:
    """As much of the sentence as a header takes, in UTF-8: what can't be sent would leave the caller without an end."""
    sentence = errors.printable(sentence)
    return sentence if len(sentence) <= MOST_CHARACTERS else f"{sentence[: MOST_CHARACTERS - 3]}..."
