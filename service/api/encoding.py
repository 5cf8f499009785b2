"""Writes ClassifyResponse messages straight into protobuf's wire format.

Building the message object by object costs more than running a small model; here everything that does not change from
call to call (the model, labels, indices) is encoded once a version, those bytes are joined with a batch's scores once
for all of its calls, and a call takes its rows of that. The format is protobuf's published encoding: a field is a tag
(number << 3 | wire type) and its value. Tests hold the result to what the generated classes read. Used by every
transport.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np

from protos.classifier.v1 import classifier_pb2 as pb
from service.inference.values import Answer, Best, HeadAnswer
from service.models.version import Servable
from service.runtimes.base import Array

INVALID_ARGUMENT = 3
_CLASSIFICATIONS = b"\x0a"  # Result.classifications = 1
_CLASSES = b"\x12"  # Classification.classes = 2
_RESULTS = b"\x12"  # ClassifyResponse.results = 2
_TIMING = b"\x1a"  # ClassifyResponse.timing = 3
_ACTIVATION_MAPS = b"\x1a"  # Classification.activation_maps = 3
_VALUES = b"\x1a"  # ActivationMap.values = 3
_ABSTAINED = b"\x20\x01"  # Classification.abstained = 4, true
_SCORE = b"\x1d"  # ClassScore.score = 3, a little-endian float32
_ID = b"\x20"  # ClassifyResponse.id = 4
_FLOAT = 4

_encoders: "WeakKeyDictionary[Servable, _Encoder]" = WeakKeyDictionary()


def response(answer: Answer, number: int = 0) -> bytes:
    """A ClassifyResponse: the version that answered, one result a picture in order, the timing, the request's id."""
    encoder = _encoders.get(answer.servable)
    if encoder is None:
        encoder = _encoders[answer.servable] = _Encoder(answer.servable)
    encoded = encoder.encode(answer)
    return encoded + _ID + _varint(number) if number else encoded


class _Encoder:
    """What is the same in every response of one version."""

    def __init__(self, servable: Servable) -> None:
        model = pb.ModelSpec(name=servable.bundle.name, version=servable.bundle.version)
        self._model = pb.ClassifyResponse(model=model).SerializeToString()
        self._heads = {head: _head(head, labels) for head, labels in servable.labels.items()}

    def encode(self, answer: Answer) -> bytes:
        rows = answer.best.encoded or self._rows(answer.best)
        end = answer.first + answer.count - len(answer.errors)
        good = rows[answer.first : end]
        if answer.errors:
            rest = iter(good)
            good = [
                _result(_error(answer.errors[number])) if number in answer.errors else next(rest)
                for number in range(answer.count)
            ]
        timing = _timing(answer)
        return b"".join([self._model, *good, _TIMING, _varint(len(timing)), timing])

    def _rows(self, best: Best) -> Sequence[bytes]:
        """ClassifyResponse.results of each row, made once for all answers that share them."""
        heads = [self._classifications(head) for head in best.heads]
        best.encoded = [_result(b"".join(row)) for row in zip(*heads, strict=True)]
        return best.encoded

    def _classifications(self, head: HeadAnswer) -> list[bytes]:
        """Result.classifications of each row."""
        name, classes = self._heads[head.name]
        scores = _floats(head.scores)
        maps = None if head.maps is None else _maps(head.maps)
        unsure = None if head.abstained is None else iter(head.abstained.tolist())
        encoded = []
        for indices in head.indices.tolist():
            parts = [name]
            for index in indices:
                parts.append(classes[index])
                parts.append(next(scores))
            if maps is not None:
                parts.append(next(maps))
            if unsure is not None and next(unsure):
                parts.append(_ABSTAINED)
            row = b"".join(parts)
            encoded.append(_CLASSIFICATIONS + _varint(len(row)) + row)
        return encoded


def _result(result: bytes) -> bytes:
    return _RESULTS + _varint(len(result)) + result


def _floats(values: Array) -> Iterator[bytes]:
    """Each value in turn, as a little-endian float32."""
    encoded = np.ascontiguousarray(values, "<f4").tobytes()
    return (encoded[at : at + _FLOAT] for at in range(0, len(encoded), _FLOAT))


def _head(name: str, labels: tuple[str, ...]) -> tuple[bytes, list[bytes]]:
    """A head's name, and for each class all of it up to its score."""
    encoded = []
    for index, label in enumerate(labels):
        known = pb.ClassScore(label=label, index=index).SerializeToString() + _SCORE
        encoded.append(_CLASSES + _varint(len(known) + _FLOAT) + known)
    return pb.Classification(head=name).SerializeToString(), encoded


def _maps(maps: Array) -> Iterator[bytes]:
    """Classification.activation_maps of each picture in turn, from maps [pictures, classes, rows, columns]."""
    rows, columns = maps.shape[2:]
    values = np.ascontiguousarray(maps, "<f4")
    known = pb.ActivationMap(rows=rows, columns=columns).SerializeToString()
    known += _VALUES + _varint(rows * columns * _FLOAT)
    begin = _ACTIVATION_MAPS + _varint(len(known) + rows * columns * _FLOAT) + known
    for of_classes in values:
        yield b"".join(begin + of_class.tobytes() for of_class in of_classes)


def _error(message: str) -> bytes:
    return pb.Result(error=pb.Error(code=INVALID_ARGUMENT, message=message)).SerializeToString()


def _timing(answer: Answer) -> bytes:
    return (
        b"\x08" + _varint(round(answer.preprocess_seconds * 1e6))
        + b"\x10" + _varint(round(answer.queue_seconds * 1e6))
        + b"\x18" + _varint(round(answer.compute_seconds * 1e6))
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _varint(value: int) -> bytes:
    """Seven bits a byte, the least significant first, the high bit set on all but the last."""
    parts = bytearray()
    while value > 0x7F:  # noqa: PLR2004
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
