"""Requests that differ from an earlier one in nothing but their tensor's bytes: what is around them is parsed once.

A client that asks again sends the same message with other pixels. Where a payload begins and ends exactly like one that
was parsed, and is as long, protobuf's format leaves only one reading: the same message with what stands between as the
tensor's data. That is looked at where it lies, neither parsed nor copied. The invariant: the request is the one that
`messages.request` makes of the same bytes. Used by the native transport, for calls with one tensor.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from protos.classifier.v1 import classifier_pb2 as pb
from service.api import messages
from service.inference.values import Form, Request

# Learning reads the message twice more, so of the payloads that are like no other one in so many is learnt: callers
# that never repeat themselves cost hardly anything.
_LEARN_EVERY = 16
_MOST_LENGTHS = 256
_MOST_AROUND = 1024  # bytes around the tensor's; what is longer has more in it than one tensor


@dataclass(frozen=True, slots=True)
class _Known:
    """A message around its tensor's bytes, in bytes and in values: a request like those that it stands for."""

    head: bytes
    tail: bytes
    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    like: Request
    id: int

    def fits(self, payload: bytes) -> bool:
        """Whether a payload of the same length differs in the tensor's bytes only."""
        return payload.startswith(self.head) and payload.endswith(self.tail)

    def request(self, payload: bytes, deadline: float) -> Request:
        """The request with this payload's tensor."""
        like = self.like
        tensor = np.ndarray(self.shape, self.dtype, payload, len(self.head))
        return Request(like.model, {self.name: tensor}, like.top_k, deadline, like.priority, like.explain, like.form)


class Repeats:
    """Parses ClassifyRequests; remembers the newest of each length."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._unknown = 0

    def __len__(self) -> int:
        return len(self._known)

    def parse(self, payload: bytes, seconds_left: float | None) -> tuple[Request, int]:
        """The request and its id; the deadline is counted on the monotonic clock from now.

        Raises DecodeError for bytes that are no ClassifyRequest, and what `messages.request` raises.
        """
        known = self._known.get(len(payload))
        if known is not None and known.fits(payload):
            deadline = math.inf if seconds_left is None else time.monotonic() + seconds_left
            return known.request(payload, deadline), known.id
        message = pb.ClassifyRequest.FromString(payload)
        request = messages.request(message, seconds_left)
        if self._unknown % _LEARN_EVERY == 0:
            self._learn(payload, message, request)
        self._unknown += 1
        return request, message.id

    def _learn(self, payload: bytes, message: pb.ClassifyRequest, request: Request) -> None:
        (name, values), *more = request.inputs.items()
        if more or not isinstance(values, np.ndarray):
            return
        head, tail = _around(message, values.nbytes)
        like = replace(request, inputs={}, form=Form())  # without its pixels, which nobody needs any more
        known = _Known(head, tail, name, values.dtype, values.shape, like, message.id)
        # A payload in which the fields are in another order than ours is read like any, and not learnt.
        if len(head) + len(tail) == len(payload) - values.nbytes <= _MOST_AROUND and known.fits(payload):
            if len(self._known) >= _MOST_LENGTHS:
                self._known.clear()
            self._known[len(payload)] = known


def _around(message: pb.ClassifyRequest, size: int) -> tuple[bytes, bytes]:
    """What stands before and after the tensor's bytes: all that two messages with different ones share."""
    probe = pb.ClassifyRequest()
    probe.CopyFrom(message)
    probe.inputs[0].tensor.data = bytes(size)
    zeros = probe.SerializeToString()
    probe.inputs[0].tensor.data = b"\xff" * size
    ones = probe.SerializeToString()
    begin = next(at for at, (zero, one) in enumerate(zip(zeros, ones, strict=True)) if zero != one)
    return zeros[:begin], zeros[begin + size :]
