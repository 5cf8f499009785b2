"""The one table from our errors to gRPC codes, and the guard through which every call is answered.

A known error reaches the client with its sentence; an unknown one as INTERNAL with a bland message, and the log has the
traceback. Every call is counted once, by method and code.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc
import grpc.aio

from service import errors
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

Code = grpc.StatusCode
Reply = TypeVar("Reply")

CODES: dict[type[errors.ServiceError], grpc.StatusCode] = {
    errors.RequestInvalid: Code.INVALID_ARGUMENT,
    errors.ModelNotFound: Code.NOT_FOUND,
    errors.ModelNotReady: Code.UNAVAILABLE,
    errors.QueueFull: Code.RESOURCE_EXHAUSTED,
    errors.DeadlinePassed: Code.DEADLINE_EXCEEDED,
    errors.ModelUnusable: Code.FAILED_PRECONDITION,
    errors.RuntimeFailed: Code.INTERNAL,
}


class Guard:
    """Answers calls: maps errors, counts, never lets an exception out unmapped."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def answer(
        self, method: str, context: "grpc.aio.ServicerContext[Any, Reply]", reply: Coroutine[None, None, Reply]
    ) -> Reply:
        """Awaits the reply of one call, or ends the call with its error's code and sentence."""
        began = time.monotonic()
        code, message = Code.OK, ""
        try:
            return await reply
        except asyncio.CancelledError:
            code = Code.CANCELLED
            raise
        except errors.ServiceError as error:
            code, message = CODES.get(type(error), Code.INTERNAL), str(error)
        except Exception:
            log.exception("call failed", extra={"method": method})
            code, message = Code.INTERNAL, f"{method} failed inside the server; its log has the details"
        finally:
            self._metrics.call(method, code.name).observe(time.monotonic() - began)
        return await context.abort(code, message)
