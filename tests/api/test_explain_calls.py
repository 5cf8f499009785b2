"""Activation maps over the wire, on both transports, held against NumPy."""

import asyncio

import numpy as np
import pytest
from bundles import HEAD, encode
from explained import CELLS, LABELS, make_explained, maps, scores, square, square_picture
from servers import Asked, held, refused, serving, until

from protos.classifier.v1 import classifier_pb2 as pb
from service.batching.entries import Priority
from service.errors import RuntimeFailed

RANDOM = np.random.default_rng(3)


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """The repository of a model that has maps."""
    return make_explained(tmp_path_factory.mktemp("explained")).path.parent.parent


@pytest.fixture
async def explaining(explained, transport):
    async with serving(explained, transport=transport, max_batch_size=8) as (server, channel):
        yield Asked(server, channel)


def noise(count):
    return RANDOM.integers(0, 256, (count, CELLS * 4, CELLS * 4, 3), np.uint8)


def answered(result):
    """The classes' indices, their scores, and the maps [classes, rows, columns] of the only head."""
    [classification] = result.classifications
    indices = [each.index for each in classification.classes]
    values = [
        np.frombuffer(each.values, "<f4").reshape(each.rows, each.columns) for each in classification.activation_maps
    ]
    return indices, [each.score for each in classification.classes], values


def check(response, pixels, classes):
    """Every picture's classes, scores and maps are NumPy's."""
    assert len(response.results) == len(pixels)
    for result, wanted, of_places in zip(response.results, scores(pixels), maps(pixels), strict=True):
        indices, found, values = answered(result)
        assert indices == np.argsort(-wanted, kind="stable")[:classes].tolist()
        assert found == pytest.approx(wanted[indices].tolist(), abs=1e-5)
        assert np.allclose(values, of_places[:, :, indices[:5]].transpose(2, 0, 1), atol=1e-5)


async def test_the_map_lights_up_where_the_square_is(explaining):
    response = await explaining.classify(square_picture(1, 3), explain=True, top_k=1)
    indices, _, [found] = answered(response.results[0])
    assert LABELS[indices[0]] == "red"
    assert np.unravel_index(found.argmax(), found.shape) == (1, 3)
    assert found[1, 3] == pytest.approx(9)
    assert np.abs(found).sum() == pytest.approx(9)
    check(response, square(1, 3)[np.newaxis], 1)


async def test_maps_come_for_the_first_five_classes_only(explaining):
    pixels = noise(1)
    response = await explaining.classify(encode(pixels[0]), explain=True, top_k=len(LABELS))
    check(response, pixels, len(LABELS))
    assert len(response.results[0].classifications[0].activation_maps) == 5


async def test_a_call_of_several_parts_and_batches_with_a_bad_picture_in_it(explaining):
    pixels = noise(29)
    pictures = [encode(each) for each in pixels]
    response = await explaining.classify(*pictures[:11], b"no picture", *pictures[11:], explain=True)
    bad = response.results.pop(11)
    assert (bad.HasField("error"), len(bad.classifications)) == (True, 0)
    check(response, pixels, 5)


async def test_tensors_are_explained_as_well(explaining):
    pixels = noise(3)
    tensor = pb.Tensor(dtype="uint8", shape=pixels.shape, data=pixels.tobytes())
    check(await explaining.call(pb.Input(tensor=tensor), explain=True), pixels, 5)


async def test_who_does_not_ask_gets_none(explaining):
    pixels = noise(2)
    asked = await explaining.classify(*map(encode, pixels), explain=True)
    usual = await explaining.classify(*map(encode, pixels))
    assert all(answered(result)[2] == [] for result in usual.results)
    for result in asked.results:
        del result.classifications[0].activation_maps[:]
    assert asked.results == usual.results


async def test_calls_that_ask_and_calls_that_do_not_share_a_batch(explaining):
    pixels = noise(6)
    [version] = explaining.server.models.models()["tiny"]
    with held(explaining.server) as gate:
        first = asyncio.ensure_future(explaining.classify(encode(pixels[0])))
        await gate.reached()
        mixed = [
            asyncio.ensure_future(explaining.classify(encode(each), explain=number % 2 == 0))
            for number, each in enumerate(pixels[1:])
        ]
        await until(lambda: version.servable.batcher._waiting.ahead(Priority.INTERACTIVE) == len(mixed))
        gate.open()
        await first
        responses = await asyncio.gather(*mixed)
    assert gate.rows == [1, 2, 3]  # of the batch of five those that did not ask, then those that did
    for number, response in enumerate(responses):
        if number % 2 == 0:
            check(response, pixels[number + 1 : number + 2], 5)
        else:
            [result] = response.results
            assert answered(result)[2] == []
            wanted = scores(pixels[number + 1 : number + 2])[0]
            assert answered(result)[1] == pytest.approx(np.sort(wanted)[::-1][:5].tolist(), abs=1e-5)


async def test_a_runtime_under_suspicion_proves_its_maps_too(explaining):
    [version] = explaining.server.models.models()["tiny"]
    [instance] = version.servable.batcher._instances
    instance._prove(instance.runtime)
    instance.runtime.unranked._models._explaining = None
    with pytest.raises(RuntimeFailed, match="is closed"):
        instance._prove(instance.runtime)


async def test_a_model_without_maps_says_so_and_what_to_do(asked):
    code, sentence = await refused(asked.classify(encode(noise(1)[0]), explain=True))
    assert code == "INVALID_ARGUMENT"
    assert sentence == (
        "version 1 of model 'tiny' has no activation maps: ask without explain, or publish it with "
        "convoy train --explain"
    )


async def test_a_stream_explains_the_requests_that_ask(explaining):
    pixels = noise(4)
    requests = [
        pb.ClassifyRequest(
            model=pb.ModelSpec(name="tiny"), inputs=[pb.Input(images=[encode(each)])], id=number + 1, explain=number > 1
        )
        for number, each in enumerate(pixels)
    ]
    call = explaining.stub.ClassifyStream(iter(requests))
    by_id = {response.id: response async for response in call}
    for number in (0, 1):
        assert answered(by_id[number + 1].results[0])[2] == []
    for number in (2, 3):
        check(by_id[number + 1], pixels[number : number + 1], 5)


async def test_get_model_tells_what_can_be_asked_and_the_way_back_to_the_picture(explaining, asked):
    reply = await explaining.stub.GetModel(pb.GetModelRequest(model=pb.ModelSpec(name="tiny")))
    assert [(head.name, head.explains) for head in reply.heads] == [(HEAD, True)]
    [spec] = reply.preprocessing
    assert (spec.crop_fraction, spec.background, spec.exif_orientation) == (1, 0, True)
    assert [output.name for output in reply.outputs] == ["probabilities"]
    plain = await asked.stub.GetModel(pb.GetModelRequest(model=pb.ModelSpec(name="tiny")))
    assert [head.explains for head in plain.heads] == [False]
