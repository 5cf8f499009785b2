"""Other model servers beside ours: one that runs already and speaks the Open Inference Protocol (KServe's, Triton's).

A peer is told by `--peer NAME=HOST:PORT,PID[,MODEL]`. It gets what ours gets, the same picture decoded, as the fp32
tensor that its model takes. Its request is written by hand, field by field, since a benchmark of a peer is no reason to
depend on its client.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.serving import Target

METHOD = "/inference.GRPCInferenceService/ModelInfer"
INPUT = "image"

_LENGTH_DELIMITED = 2
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that somebody started: its name for the table, where it is and its model."""

    name: str
    target: Target
    model: str


def peer(text: str) -> Peer:
    """Reads NAME=HOST:PORT,PID[,MODEL]. Raises ValueError."""
    name, _, rest = text.partition("=")
    address, pid, *model = rest.split(",")
    return Peer(name, Target(address, int(pid), path=METHOD), model[0] if model else "tiny")


def request(asked: Peer, pixels: NDArray[np.uint8]) -> bytes:
    """A ModelInferRequest for one picture, uint8 [height, width, channels]; sent once, to see that it is answered."""
    values = (pixels[np.newaxis] / np.float32(255)).astype("<f4")
    shape = b"".join(_varint(size) for size in values.shape)
    tensor = _field(1, INPUT.encode()) + _field(2, b"FP32") + _field(3, shape)
    body = _field(1, asked.model.encode()) + _field(5, tensor) + _field(7, values.tobytes())
    with grpc.insecure_channel(asked.target.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        call(body, timeout=_TIMEOUT_SECONDS)
    return body


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    return bytes(_groups(value))


def _groups(value: int) -> Iterator[int]:
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte, the highest says that more follow
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
