"""What can go wrong when a server is asked, and the one table from gRPC codes to these errors.

    ClientError
      ImageRejected         one picture can't be used; the others of its call are answered
      CallFailed            a whole call has no answer
        ServerUnavailable     not reachable or not ready, after the retries
        DeadlineExceeded      no answer within the call's time
        Overloaded            the server has no room for the call, or its queue is too long for the call's time
        InvalidRequest        the request contradicts the model's signature or a limit
        MessageTooLarge       the call's bytes are over the server's limit
        ModelNotFound         no such model, version or label
        ModelUnusable         the server has the version but can't use it
        AccessDenied          the server wants to know who asks, or says no
        WrongServer           something else answers at the address
        CallCancelled         the client was closed, before the call or during it
        ServerFailed          anything else: the server's log knows more

Each names the server and the remedy and has the original gRPC error as its `__cause__`. They can be pickled.
"""

import re
from collections.abc import Iterable

import grpc
from google.protobuf.message import DecodeError

from protos.rpc.v1.status_pb2 import RetryInfo, Status
from service.client import knock, tls


class ClientError(Exception):
    """The base of all that the client raises about a server or a picture."""


class ImageRejected(ClientError):
    """One picture can't be used. Raised by `classify`, returned in place by `classify_many`.

    `image` is the path as it was given or, for bytes and arrays, "image 3" (counted from 0, as in the list), or the
    input's name; `code` is the name of a gRPC status code, "INVALID_ARGUMENT" where the picture itself is at fault.
    """

    def __init__(self, image: str, problem: str, code: str) -> None:
        super().__init__(image, problem, code)
        self.image = image
        self.problem = problem
        self.code = code

    def __str__(self) -> str:
        return f"{self.image}: {self.problem}"


class CallFailed(ClientError):
    """A whole call has no answer."""

    def __init__(self, server: str, problem: str) -> None:
        super().__init__(server, problem)
        self.server = server
        self.problem = problem

    def __str__(self) -> str:
        return f"server {self.server}: {self.problem}"


class ServerUnavailable(CallFailed):
    """Not reachable or not ready, after the retries."""


class DeadlineExceeded(CallFailed):
    """No answer within the call's time."""


class Overloaded(CallFailed):
    """The server has no room for the call, in its queue or in memory, or its queue is too long for the call's time.

    `retry_after` is the server's estimate of the seconds after which it makes sense to try again; None where it gave
    none.
    """

    def __init__(self, server: str, problem: str, retry_after: float | None = None) -> None:
        super().__init__(server, problem)
        self.retry_after = retry_after


class InvalidRequest(CallFailed):
    """The request contradicts the model's signature or a limit."""


class MessageTooLarge(CallFailed):
    """The call's bytes are over the server's limit."""


class ModelNotFound(CallFailed):
    """No such model, version or label."""


class ModelUnusable(CallFailed):
    """The server has the version but can't use it."""


class AccessDenied(CallFailed):
    """The server wants to know who asks, or says no."""


class WrongServer(CallFailed):
    """Something else answers at the address."""


class CallCancelled(CallFailed):
    """The client was closed, before the call or during it."""

    def __init__(self, server: str, problem: str = "the client is closed; make a new one") -> None:
        super().__init__(server, problem)


class ServerFailed(CallFailed):
    """The server failed in a way that the caller can't repair."""


_Code = grpc.StatusCode

# What each code means here; the sentence may use the server's own words and the call's seconds.
_MEANING: dict[grpc.StatusCode, tuple[type[CallFailed], str]] = {
    _Code.UNAVAILABLE: (
        ServerUnavailable,
        "unavailable: {details}; `convoy models --server {server}` shows the versions' states",
    ),
    _Code.DEADLINE_EXCEEDED: (
        DeadlineExceeded,
        "no answer within {timeout:g} s; check the address, send fewer pictures a call or allow a longer timeout",
    ),
    _Code.RESOURCE_EXHAUSTED: (Overloaded, "overloaded: {details}"),
    _Code.INVALID_ARGUMENT: (InvalidRequest, "invalid request: {details}"),
    _Code.OUT_OF_RANGE: (InvalidRequest, "invalid request: {details}"),
    _Code.NOT_FOUND: (ModelNotFound, "{details}; `convoy models --server {server}` lists what it has"),
    _Code.FAILED_PRECONDITION: (
        ModelUnusable,
        "{details}; `convoy models --server {server}` shows the versions' states",
    ),
    _Code.UNAUTHENTICATED: (AccessDenied, "access denied: {details}; check the credentials"),
    _Code.PERMISSION_DENIED: (AccessDenied, "access denied: {details}"),
    _Code.UNIMPLEMENTED: (WrongServer, "answers, but not as a Convoy classifier ({details}); check the address"),
    _Code.CANCELLED: (CallCancelled, "the call was cancelled, as it is when its client is closed ({details})"),
}
_OTHERWISE = (ServerFailed, "failed with {code}: {details}; see the server's log")
# gRPC has one code for a server that is full and for a message over a limit; the latter only shows in gRPC's words, or
# in those of the native transport.
_LARGER = ("larger than max", "(--max-message-mb)")
_TOO_LARGE = (MessageTooLarge, "{details}; send fewer or smaller pictures a call, or raise the server's message limit")
# UNAVAILABLE is the server's own word, or gRPC's where it did not reach one, which only shows in its words: they are
# long, name addresses and errno, and change with its releases. A server's own sentence may hold any of the pieces too,
# such as an errno or a model's name, so they are only looked for in what begins as gRPC's sentences do.
_OF_GRPC = re.compile(
    r"(?:(?:unknown|unavailable|internal): |stream removed \()*"
    r"(?:(?:ipv4|ipv6|unix|unix-abstract|recvmsg|sendmsg):"
    r"|failed to connect to |connections to all backends failing|errors resolving |dns resolution failed"
    r"|empty address list|socket closed|goaway received|endpoint closing|transport closed|connection reset|broken pipe"
    r"|keepalive (?:watchdog|timeout))"
)
# What a server of another kind makes gRPC say, unless it tells of another address of the same host.
_NOT_HTTP2 = "failed parsing http/2"
_NO_GRPC = "it speaks no gRPC, or only with TLS"
# What each means, the more exact ones first.
_UNREACHED = "can't be reached: {why}; check the address and that the server runs"
_NOBODY, _NO_CONNECTION = "nothing listens there", "it does not take the connection"
_HIDING = {_NOBODY, _NO_CONNECTION}  # they may be one address's, while another of the same host answered
_WHY = {
    "connection refused": _NOBODY,
    "no such file or directory": _NOBODY,
    "errors resolving": "its name is not known",
    "resolution failed": "its name is not known",
    "empty address list": "its name is not known",
    "handshake failed": "the TLS handshake failed",
    "certificate_verify_failed": "the TLS handshake failed",
    "failed to connect": _NO_CONNECTION,
    "connections to all backends failing": _NO_CONNECTION,
    "connection reset": "the connection broke",
    "socket closed": "the connection broke",
    "goaway received": "the connection broke",
    "broken pipe": "the connection broke",
    "endpoint closing": "the connection broke",
    "transport closed": "the connection broke",
    "keepalive": "the connection broke",
}


# What a closed channel raises, beside a status.
CLOSED = (grpc.FutureCancelledError, grpc.aio.UsageError, ValueError)


def from_rpc(error: grpc.RpcError, server: str, timeout: float, *, secure: bool = False) -> CallFailed:
    """The client's error for a failed gRPC call to `server`, with TLS if `secure`, that was given `timeout` seconds.

    May block for the seconds of `other_server` where the server was not reached.
    """
    code, details = error.code(), (error.details() or "no details").rstrip(".;")
    kind, sentence = _MEANING.get(code, _OTHERWISE)
    if code is _Code.RESOURCE_EXHAUSTED and any(words in details for words in _LARGER):
        kind, sentence = _TOO_LARGE
    if code is _Code.UNAVAILABLE and (why := other_server(details, server, secure=secure)):
        return WrongServer(server, why)
    if code is _Code.UNAVAILABLE and (why := unreached(details, server, secure=secure)):
        return kind(server, why)
    problem = sentence.format(details=details, server=server, timeout=timeout, code=code.name)
    return Overloaded(server, problem, _retry_after(error)) if kind is Overloaded else kind(server, problem)


def other_server(details: str, server: str, *, secure: bool = False) -> str:
    """That something else answers at the address, with the remedy; "" where nothing does, or the server said `details`.

    Without TLS (`secure`) it may knock at the address, for the seconds that `knock.speaks_no_grpc` takes.
    """
    why = _why(details)
    if not why:
        return ""
    hidden = why in _HIDING and not secure
    if _NOT_HTTP2 in details.lower() or (hidden and knock.speaks_no_grpc(server)):
        return _MEANING[_Code.UNIMPLEMENTED][1].format(details=_NO_GRPC)
    return ""


def unreached(details: str, server: str, *, secure: bool = False) -> str:
    """Why a call did not reach its server, with the remedy, in our words; "" where the server said so itself.

    With TLS (`secure`) it may knock at the address, for the seconds that `knock.speaks_without_tls` takes.
    """
    why = _why(details)
    if why and (of_tls := tls.failure(details, secure=secure)):
        return of_tls
    if secure and why in _HIDING and knock.speaks_without_tls(server):
        return tls.NO_TLS
    return _UNREACHED.format(why=why) if why else ""


def _why(details: str) -> str:
    words = details.lower()
    if not _OF_GRPC.match(words):
        return ""
    return next((why for piece, why in _WHY.items() if piece in words), "")


def _retry_after(error: grpc.RpcError) -> float | None:
    """The seconds of the google.rpc.RetryInfo among the details in the trailing metadata, if there is one."""
    metadata: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in metadata:
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                for detail in Status.FromString(value).details:
                    if detail.type_url.endswith("/google.rpc.RetryInfo"):
                        return RetryInfo.FromString(detail.value).retry_delay.ToNanoseconds() / 1e9
            except DecodeError:  # not ours
                return None
    return None
