"""How a server is reached: address, TLS, deadline, retries, load balancing, limits, keepalive.

Both clients open their channel here, so both behave the same on the wire. A call that the server did
not take is sent again by gRPC itself, up to five attempts, on whichever backend is ready.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import grpc

from service.client import tls
from service.client.errors import CLOSED, CallCancelled, CallFailed, from_rpc

Priority: TypeAlias = Literal["interactive", "batch"]

MEBIBYTE = 1 << 20
DEFAULT_SERVER = "localhost:8500"
DEFAULT_TIMEOUT = 30.0
DEFAULT_MESSAGE_BYTES = 64 * MEBIBYTE  # the server's own default limit for a request
_ENVELOPE_BYTES = 4096  # what a request carries beside its pictures

# UNAVAILABLE: the server did not take the call, or is going down and has not answered. CANCELLED: grpcio ends so what
# reaches it in the last moment of its stop (grpc/grpc#41785); a call that this side cancels is never sent again.
# Classifying twice does no harm. RESOURCE_EXHAUSTED is not repeated: more calls are the last thing that a full queue
# needs.
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": "convoy.classifier.v1.Classifier"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "backoffMultiplier": 2,
                "maxBackoff": "2s",
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One server and the terms on which it is asked; times in seconds."""

    server: str
    timeout: float
    wait_for_ready: bool
    max_message_bytes: int
    credentials: grpc.ChannelCredentials | None
    priority: Priority

    @property
    def largest_picture(self) -> int:
        """Bytes of the largest picture that fits into a message."""
        return self.max_message_bytes - _ENVELOPE_BYTES

    def connect(self) -> grpc.Channel:
        """A channel for threads; it connects with the first call and reconnects by itself."""
        if self.credentials is None:
            return grpc.insecure_channel(self.server, _options(self.max_message_bytes))
        return grpc.secure_channel(self.server, self.credentials, _options(self.max_message_bytes))

    def connect_async(self) -> grpc.aio.Channel:
        """The same for the running event loop."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.server, _options(self.max_message_bytes))
        return grpc.aio.secure_channel(self.server, self.credentials, _options(self.max_message_bytes))

    @contextmanager
    def translated(self, timeout: float) -> Iterator[None]:
        """Turns what gRPC raises inside the block, which holds one call and nothing else, into the client's errors."""
        try:
            yield
        except grpc.RpcError as error:
            raise self.failed(error, timeout) from error
        except CLOSED as error:
            raise CallCancelled(self.server) from error

    def failed(self, error: grpc.RpcError, timeout: float) -> CallFailed:
        """The client's error for a failed call that was given `timeout` seconds; may block as `errors.from_rpc`."""
        return from_rpc(error, self.server, timeout, secure=self.credentials is not None)

    def seconds(self, timeout: float | None) -> float:
        """The seconds a call may take: `timeout`, or the endpoint's own. Raises ValueError unless they are above 0."""
        seconds = self.timeout if timeout is None else timeout
        if not seconds > 0:
            raise ValueError(f"timeout is {seconds} seconds, it must be above 0")
        return seconds

    def priority_of(self, priority: Priority | None) -> Priority:
        """The priority of a call: its own, or the endpoint's where it is None. Raises ValueError for no priority."""
        return self.priority if priority is None else _checked(priority)


def endpoint(
    server: str,
    *,
    timeout: float,
    wait_for_ready: bool,
    root_certificates: tls.File,
    certificate_chain: tls.File,
    private_key: tls.File,
    credentials: grpc.ChannelCredentials | None,
    max_message_bytes: int,
    priority: Priority,
) -> Endpoint:
    """Checks the terms and reads the certificates. Raises ValueError, or OSError for a file of the certificates."""
    if ":" not in server or server.startswith(("http://", "https://")):
        raise ValueError(f"server is {server!r}, it must be HOST:PORT without http://, for example {DEFAULT_SERVER}")
    made = tls.credentials(root_certificates, certificate_chain, private_key)
    if made and credentials:
        raise ValueError("files of certificates and credentials exclude each other; give one of them")
    if max_message_bytes <= _ENVELOPE_BYTES:
        raise ValueError(f"max_message_bytes is {max_message_bytes}, it must be above {_ENVELOPE_BYTES}")
    terms = Endpoint(
        server=server,
        timeout=timeout,
        wait_for_ready=wait_for_ready,
        max_message_bytes=max_message_bytes,
        credentials=made or credentials,
        priority=_checked(priority),
    )
    terms.seconds(None)
    return terms


def _checked(priority: Priority) -> Priority:
    if priority not in get_args(Priority):
        raise ValueError(f"priority is {priority!r}, it must be one of {', '.join(get_args(Priority))}")
    return priority


def _options(max_message_bytes: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.max_receive_message_length", max_message_bytes),
        # gRPC keeps 256 KiB of a call for a retry and silently gives up retrying larger ones, which pictures are.
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
        # A restarted server is found again while the retries last, not after gRPC's usual second and more.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # A peer that vanished without a word is noticed during a call; idle channels stay silent.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
