"""A request read by what it shares with an earlier one is the request that its bytes say."""

import random

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from protos.classifier.v1 import classifier_pb2 as pb
from service.api import messages
from service.api.repeats import Repeats
from service.errors import RequestInvalid
from service.inference.values import Request

PIXELS = 12


def message(data: bytes = bytes(PIXELS), **others: object) -> pb.ClassifyRequest:
    tensor = pb.Tensor(dtype="uint8", shape=[len(data) // PIXELS, 3, 4], data=data)
    return pb.ClassifyRequest(model=pb.ModelSpec(name="m"), inputs=[pb.Input(name="image", tensor=tensor)], **others)


def values(request: Request) -> tuple[object, ...]:
    pixels = {
        name: (given.dtype, given.shape, given.tobytes()) if isinstance(given, np.ndarray) else list(given)
        for name, given in request.inputs.items()
    }
    return request.model, pixels, request.top_k, request.deadline, request.priority, request.explain


def agrees(repeats: Repeats, payload: bytes) -> bool:
    parsed = pb.ClassifyRequest.FromString(payload)
    request, number = repeats.parse(payload, None)
    return (values(request), number) == (values(messages.request(parsed, None)), parsed.id)


@pytest.mark.parametrize(
    "others",
    [
        {},
        {"top_k": 3},
        {"id": 7},
        {"priority": pb.ClassifyRequest.BATCH},
        {"explain": True},
        {"top_k": 1, "id": 1 << 60},
    ],
)
def test_the_pixels_are_those_of_the_payload_and_the_rest_is_as_before(others):
    repeats, choice = Repeats(), random.Random(0)  # noqa: S311 - not a secret
    contents = [bytes(PIXELS), b"\xff" * PIXELS, *(choice.randbytes(PIXELS) for _ in range(50))]
    assert all(agrees(repeats, message(data, **others).SerializeToString()) for data in contents)


def test_only_the_first_of_its_kind_is_parsed(monkeypatch):
    repeats = Repeats()
    repeats.parse(message().SerializeToString(), None)
    monkeypatch.setattr(messages, "request", None)
    request, _ = repeats.parse(message(bytes(range(PIXELS))).SerializeToString(), None)
    pixels = request.inputs["image"]
    assert isinstance(pixels, np.ndarray)
    assert pixels.tolist() == np.arange(PIXELS).reshape(1, 3, 4).tolist()
    assert not pixels.flags.writeable


def test_equally_long_messages_that_differ_elsewhere_are_read_as_they_are():
    repeats = Repeats()
    known = message(id=1)
    other_model, other_shape, other_id, other_name = message(id=1), message(id=1), message(id=2), message(id=1)
    other_model.model.name = "n"
    other_shape.inputs[0].tensor.shape[:] = [1, 4, 3]
    other_name.inputs[0].name = "jmage"
    for each in (known, other_model, known, other_shape, known, other_id, other_name, known):
        assert len(each.SerializeToString()) == len(known.SerializeToString())
        assert agrees(repeats, each.SerializeToString())


def test_whatever_bytes_are_changed_the_reading_is_that_of_the_bytes():
    repeats, choice = Repeats(), random.Random(1)  # noqa: S311 - not a secret
    payload = message(choice.randbytes(2 * PIXELS), top_k=3, id=300).SerializeToString()
    assert agrees(repeats, payload)
    for _ in range(2000):
        changed = bytearray(payload)
        for _ in range(choice.randint(1, 3)):
            changed[choice.randrange(len(changed))] = choice.randrange(256)
        try:
            expected = messages.request(pb.ClassifyRequest.FromString(bytes(changed)), None)
        except (DecodeError, RequestInvalid) as error:
            with pytest.raises(type(error)):
                repeats.parse(bytes(changed), None)
        else:
            assert values(repeats.parse(bytes(changed), None)[0]) == values(expected)


def test_fields_in_another_order_are_read_as_they_are():
    """The format allows it: the model after the inputs, and the one that comes last counts."""
    repeats = Repeats()
    inputs = pb.ClassifyRequest(inputs=message().inputs).SerializeToString()
    for name in ("m", "n", "m"):
        model = pb.ClassifyRequest(model=pb.ModelSpec(name=name)).SerializeToString()
        assert agrees(repeats, model + inputs)
        assert agrees(repeats, inputs + model)


def test_pictures_and_several_inputs_are_read_like_any():
    repeats = Repeats()
    pictures = pb.ClassifyRequest(model=pb.ModelSpec(name="m"), inputs=[pb.Input(images=[b"one", b"two"])])
    several = message()
    several.inputs.add(name="mask").tensor.CopyFrom(several.inputs[0].tensor)
    assert all(agrees(repeats, each.SerializeToString()) for each in (pictures, several) * 20)


def test_what_is_remembered_is_bounded():
    repeats = Repeats()
    for count in range(1, 4500):
        repeats.parse(message(bytes(PIXELS * count)).SerializeToString(), None)
    assert len(repeats) <= 256
    assert agrees(repeats, message().SerializeToString())
