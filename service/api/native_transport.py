"""gRPC by pygrpc-native: HTTP/2 and framing in Rust outside the GIL, a burst of calls taken in one step.

Only Classify is served this way, with no task and no context a call; every other method goes, unseen by the caller, to
a grpcio server behind the front on a Unix socket. What the front can't do at all (TLS, ageing connections) is refused
by `check`, and `--transport auto` then takes grpcio.
"""

import asyncio
import logging
import shutil
import tempfile
import threading
import time
from pathlib import Path

import grpc.aio
from google.protobuf.message import DecodeError
from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from protos.classifier.v1 import classifier_pb2 as pb
from service.api import encoding, messages
from service.api.classifier import SERVICE
from service.api.status import outcome
from service.config import MEBIBYTE, Settings
from service.errors import RequestInvalid, SettingsError
from service.inference.dataplane import Call, DataPlane
from service.inference.values import Answer
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

METHOD = "Classify"
EVENTS_AT_ONCE = 256
IO_THREADS = 1
_Code = grpc.StatusCode


class NativeTransport:
    """The front, its dispatching thread, and the grpcio server behind it. Belongs to the event loop."""

    def __init__(self, settings: Settings, data_plane: DataPlane, metrics: Metrics, behind: grpc.aio.Server) -> None:
        """Listens; Raises SettingsError when the port can't be had. `behind` has no port of its own yet."""
        self._data_plane = data_plane
        self._metrics = metrics
        self._limit = settings.max_message_mb * MEBIBYTE
        self._behind = behind
        self._folder = Path(tempfile.mkdtemp(prefix="convoy-"))
        self._replies: dict[int, _NativeReply] = {}
        self._refusing = False
        self._empty = asyncio.Event()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        methods = [(f"/{SERVICE}/{METHOD}", False)]
        try:
            self.front = NativeGrpcFront(f"{host}:{settings.port}", methods, IO_THREADS, call_details=True)
        except OSError as error:
            raise SettingsError(f"--port {settings.port} can't be opened on {settings.host}: {error}") from error
        self.port = self.front.bound_port
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Answers calls from now on."""
        socket = str(self._folder / "behind")
        self._behind.add_insecure_port(f"unix:{socket}")
        await self._behind.start()
        self.front.set_fallback(socket)
        self.front.start()
        threading.Thread(target=self._receive, name="convoy-native", daemon=True).start()

    async def stop(self, grace: float) -> None:
        """Refuses new calls, answers those that were taken within `grace` seconds, then closes."""
        self._refusing = True
        behind = asyncio.ensure_future(self._behind.stop(grace))
        if self._replies:
            self._empty.clear()
            await asyncio.wait([asyncio.ensure_future(self._empty.wait())], timeout=grace)
        await behind
        for reply in list(self._replies.values()):
            reply.leave()
        await asyncio.to_thread(self.front.close)
        shutil.rmtree(self._folder, ignore_errors=True)

    def ended(self, reply: "_NativeReply", code: grpc.StatusCode) -> None:
        """Counts a call whose reply was given."""
        self._replies.pop(reply.number, None)
        self._metrics.call(METHOD, code.name).observe(time.monotonic() - reply.began)
        if self._refusing and not self._replies:
            self._empty.set()

    def _receive(self) -> None:
        """The dispatching thread: bursts of events to the loop, until the front is closed."""
        while (events := self.front.recv_batch_details(EVENTS_AT_ONCE)) is not None:
            try:
                self._loop.call_soon_threadsafe(self._take, events)
            except RuntimeError:  # the loop is closed
                return

    def _take(self, events: "list[tuple[int, int, int, bytes | None, object, tuple[object, str, float | None] | None]]") -> None:
        for kind, number, _, payload, _, details in events:
            if kind == EVENT_CANCEL:
                reply = self._replies.get(number)
                if reply is not None:
                    reply.leave()
            else:
                self._begin(_NativeReply(self, number), payload or b"", details[2] if details else None)

    def _begin(self, reply: "_NativeReply", payload: bytes, seconds_left: float | None) -> None:
        self._replies[reply.number] = reply
        if self._refusing:
            reply.end(_Code.UNAVAILABLE, "the server is draining; ask another one")
        elif len(payload) > self._limit:
            reply.end(
                _Code.RESOURCE_EXHAUSTED,
                f"the call has {len(payload):,} bytes, over the limit of {self._limit:,} (--max-message-mb); split it",
            )
        else:
            try:
                message = pb.ClassifyRequest.FromString(payload)
                reply.call = self._data_plane.begin(messages.request(message, seconds_left), reply)
            except DecodeError:
                reply.failed(RequestInvalid("the call's bytes are not a ClassifyRequest"))
            except Exception as error:
                reply.failed(error)


class _NativeReply:
    """The reply to one call of the front, given exactly once."""

    __slots__ = ("_transport", "began", "call", "ended", "number")

    def __init__(self, transport: NativeTransport, number: int) -> None:
        self._transport = transport
        self.number = number
        self.began = time.monotonic()
        self.call: Call | None = None
        self.ended = False

    def done(self) -> bool:
        return self.ended

    def answered(self, answer: Answer) -> None:
        try:
            payload = encoding.response(answer)
        except Exception as error:
            self.failed(error)
            return
        if not self.ended:
            self.ended = True
            self._transport.front.respond(self.number, payload)
            self._transport.ended(self, _Code.OK)

    def failed(self, error: Exception) -> None:
        self.end(*outcome(METHOD, error))

    def end(self, code: grpc.StatusCode, sentence: str) -> None:
        """Ends the call with a status."""
        if not self.ended:
            self.ended = True
            self._transport.front.fail(self.number, code.value[0], sentence)
            self._transport.ended(self, code)

    def leave(self) -> None:
        """The caller left or its deadline passed: nothing more is done for it."""
        if not self.ended:
            self.ended = True
            if self.call is not None:
                self.call.cancel()
            self._transport.ended(self, _Code.CANCELLED)
