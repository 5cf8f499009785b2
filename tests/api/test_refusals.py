"""Everything that can be wrong with a call has its code and a sentence that helps."""

import asyncio

import grpc.aio
import numpy as np
import pytest
from bundles import encode
from hostile import bomb, png_of
from servers import held, refused, until

from protos.classifier.v1 import classifier_pb2 as pb

GOOD = encode(np.zeros((8, 8, 3), np.uint8))
TINY = pb.ModelSpec(name="tiny")


def tensor(dtype: str = "uint8", shape: tuple[int, ...] = (1, 8, 8, 3), size: int = 192) -> pb.Input:
    return pb.Input(tensor=pb.Tensor(dtype=dtype, shape=shape, data=bytes(size)))


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (b"", "the picture is empty: it has 0 bytes"),
        (b"GIF, said the liar", "JPEG, PNG, WebP, BMP or GIF"),
        (GOOD[: len(GOOD) // 2], "PNG"),
        (png_of(20_000, 20_000), "20,000 x 20,000 pixels, over the limit of 16,384 a side"),
        (png_of(8_000, 8_000), "8,000 x 8,000 pixels, over the limit of 50,000,000 in all"),
        (bomb(), "8,000 x 8,000 pixels, over the limit of 50,000,000 in all"),
        (bytes((20 << 20) + 1), "20,971,521 bytes, over the limit of 20,971,520"),
    ],
    ids=["empty", "garbage", "truncated", "huge side", "huge area", "bomb", "too many bytes"],
)
async def test_a_picture_that_can_not_be_used_has_an_error_of_its_own(asked, picture, sentence):
    before, result, after = (await asked.classify(GOOD, picture, GOOD)).results
    assert sentence in result.error.message
    assert result.error.code == 3
    assert not result.classifications
    assert before == after
    assert before.classifications


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"inputs": []}, "the call has no inputs; give one with `images` or a `tensor`"),
        ({"inputs": [pb.Input()]}, "the call brings 0 pictures, a call takes 1 to 1024; split it into several calls"),
        ({"inputs": [pb.Input(images=[GOOD] * 1025)]}, "the call brings 1025 pictures, a call takes 1 to 1024"),
        ({"inputs": [tensor(shape=(1025, 8, 8, 3), size=1025 * 192)]}, "the call brings 1025 pictures"),
        ({"inputs": [pb.Input(images=[GOOD], tensor=tensor().tensor)]}, "both images and a tensor; give one of them"),
        ({"inputs": [pb.Input(images=[GOOD])] * 2}, "an input is given twice: ['', '']"),
        ({"inputs": [pb.Input(images=[GOOD]), pb.Input(name="image", images=[GOOD])]}, "'image' is given twice"),
        ({"inputs": [pb.Input(name="pic", images=[GOOD])]}, "brings inputs ['pic'], model 'tiny' takes ['image']"),
        ({"model": pb.ModelSpec()}, "model.name is empty; ListModels tells the names"),
        ({"top_k": 0}, "top_k is 0, model 'tiny' has 3 classes: ask for 1 to 3"),
        ({"top_k": -5}, "top_k is -5, model 'tiny' has 3 classes: ask for 1 to 3"),
        ({"top_k": 4}, "top_k is 4, model 'tiny' has 3 classes: ask for 1 to 3"),
    ],
)
async def test_a_call_that_makes_no_sense_is_an_invalid_argument(asked, request_, sentence):
    request = {"model": TINY, "inputs": [pb.Input(images=[GOOD])]} | request_
    code, told = await refused(asked.stub.Classify(pb.ClassifyRequest(**request)))
    assert code == "INVALID_ARGUMENT"
    assert sentence in told


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (tensor("float32", size=768), "input 'image' is float32 [1, 8, 8, 3], model 'tiny' takes uint8 [-1, 8, 8, 3]"),
        (tensor(shape=(1, 3, 8, 8)), "input 'image' is uint8 [1, 3, 8, 8], model 'tiny' takes uint8 [-1, 8, 8, 3]"),
        (tensor(shape=(8, 8, 3)), "input 'image' is uint8 [8, 8, 3]"),
        (tensor("float128"), "has dtype 'float128'; known are bool, float16, float32"),
        (tensor("object"), "has dtype 'object'; known are"),
        (tensor(""), "has dtype ''; known are"),
        (tensor(size=191), "so its data must be 192 bytes: it is 191"),
        (tensor(size=193), "so its data must be 192 bytes: it is 193"),
        (tensor(size=0), "so its data must be 192 bytes: it is 0"),
        (tensor(shape=(2**40, 2**40), size=0), f"so its data must be {2**80} bytes: it is 0"),
        (tensor(shape=(), size=1), "it must be 1 to 8 sizes of 1 or more, the first counts the pictures"),
        (tensor(shape=(0, 8, 8, 3), size=0), "has shape [0, 8, 8, 3]; it must be 1 to 8 sizes of 1 or more"),
        (tensor(shape=(0, 2**62, 2**62), size=0), "it must be 1 to 8 sizes of 1 or more"),
        (tensor(shape=(-1, 8, 8, -3)), "it must be 1 to 8 sizes of 1 or more"),
        (tensor(shape=(1,) * 100, size=1), "it must be 1 to 8 sizes of 1 or more"),
    ],
)
async def test_a_tensor_that_contradicts_itself_or_the_model_is_an_invalid_argument(asked, wrong, sentence):
    code, told = await refused(asked.call(wrong))
    assert code == "INVALID_ARGUMENT"
    assert sentence in told


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (pb.ModelSpec(name="tony"), "model 'tony' is not in the repository; it holds: tiny"),
        (pb.ModelSpec(name="tiny", version=7), "model 'tiny' has no version 7; it has: 1 READY"),
        (pb.ModelSpec(name="tiny", version=0), "model 'tiny' has no version 0; it has: 1 READY"),
        (pb.ModelSpec(name="tiny", version_label="stable"), "model 'tiny' has no version label 'stable'; it has: none"),
    ],
)
async def test_what_is_not_there_is_not_found(asked, model, sentence):
    request = pb.ClassifyRequest(model=model, inputs=[pb.Input(images=[GOOD])])
    assert await refused(asked.stub.Classify(request)) == ("NOT_FOUND", sentence)
    assert await refused(asked.stub.GetModel(pb.GetModelRequest(model=model))) == ("NOT_FOUND", sentence)


@pytest.mark.parametrize("name", ["x" * 100_000, "ü" * 100_000])
async def test_a_sentence_that_quotes_a_long_text_still_arrives(asked, name):
    """It travels in a header, which a client throws away with the whole answer when it is too long."""
    request = pb.ClassifyRequest(model=pb.ModelSpec(name=name), inputs=[pb.Input(images=[GOOD])])
    code, told = await refused(asked.stub.Classify(request))
    assert code == "NOT_FOUND"
    assert told.startswith(f"model '{name[:500]}")
    assert told.endswith("...")


@pytest.mark.parametrize("options", [{"max_message_mb": 1}])
async def test_a_message_over_the_limit_is_refused_and_the_connection_lives(asked):
    code, told = await refused(asked.classify(bytes(1 << 20)))
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max (1048" in told or "over the limit of 1,048,576" in told
    assert len((await asked.classify(GOOD)).results) == 1


@pytest.mark.parametrize("options", [{"max_pending": 4}])
async def test_a_call_that_never_fits_the_queue_is_told_to_split_and_not_to_try_again(asked):
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await asked.classify(*[GOOD] * 5)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.value.details() == (
        "the call brings 5 pictures, model 'tiny' never has more than 4 pending (--max-pending); "
        "split it into several calls"
    )
    assert "grpc-status-details-bin" not in dict(failed.value.trailing_metadata() or ())
    assert len((await asked.classify(*[GOOD] * 4)).results) == 4


@pytest.mark.parametrize("options", [{"max_pending_mb": 1, "max_pending": 10_000}])
async def test_bytes_that_find_no_room_are_refused_with_the_time_to_try_again(asked):
    pixels = tensor(shape=(1000, 8, 8, 3), size=192_000)
    with held(asked.server) as gate:
        calls = [asyncio.ensure_future(asked.call(pixels)) for _ in range(5)]
        await until(lambda: asked.of_tiny("convoy_pending_images") == 5000)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await asked.call(pixels)
        assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert failed.value.details().startswith("the server has 0.9 MiB pending and this call brings 0.2, over the")
        assert "grpc-status-details-bin" in dict(failed.value.trailing_metadata())
        gate.open()
        await asyncio.gather(*calls)
    assert len((await asked.call(pixels)).results) == 1000


@pytest.mark.parametrize("options", [{"max_image_mb": 1, "max_image_side": 9, "max_image_pixels": 80}])
async def test_the_limits_on_pictures_are_the_settings(asked):
    big = [encode(np.zeros(shape, np.uint8)) for shape in ((10, 8, 3), (9, 9, 3))]
    response = await asked.classify(GOOD, *big, bytes((1 << 20) + 1))
    good, side, pixels, size = response.results
    assert good.classifications
    assert "over the limit of 9 a side" in side.error.message
    assert "over the limit of 80 in all" in pixels.error.message
    assert "over the limit of 1,048,576" in size.error.message


async def test_an_unknown_method_is_unimplemented(asked):
    call = asked.channel.unary_unary("/convoy.classifier.v1.Classifier/Imagine")(b"")
    code, _ = await refused(call)
    assert code == "UNIMPLEMENTED"


async def test_bytes_that_are_no_message_are_refused_and_the_server_goes_on(asked):
    call = asked.channel.unary_unary("/convoy.classifier.v1.Classifier/Classify")(b"\xff\xff\xff\xff")
    code, _ = await refused(call)
    assert code in {"INTERNAL", "UNKNOWN", "INVALID_ARGUMENT"}
    assert len((await asked.classify(GOOD)).results) == 1
