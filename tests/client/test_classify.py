"""What `classify` and `classify_many` send and give, on both clients."""

import asyncio

import numpy as np
import pytest
from bundles import make_bundle
from canned import MEBIBYTE, Running, pictures_of
from servers import LOCALHOST, serving

from convoy import Classification, ClassScore, ImageRejected, MessageTooLarge, ServerFailed, Timing
from protos.classifier.v1 import classifier_pb2 as pb


async def test_an_answer_has_classes_model_version_and_seconds(client):
    answer = await client.classify(b"a rose", model="flowers", top_k=2)
    assert answer == Classification(
        heads={"class": (ClassScore("a rose", 0, 0.5), ClassScore("other 1", 1, 0.25))},
        model="flowers",
        version=3,
        timing=Timing(preprocess=0.0015, queue=0.00025, compute=2.0),
    )
    assert answer.best == answer.classes[0] == ClassScore("a rose", 0, 0.5)


async def test_best_of_a_model_with_two_heads_asks_for_a_choice(client, canned):
    canned.heads = ("species", "colour")
    answer = await client.classify(b"a rose", model="flowers")
    assert answer.heads["colour"][0].label == "a rose"
    with pytest.raises(ValueError, match="species, colour"):
        _ = answer.best


async def test_an_explained_answer_has_the_maps_of_its_best_classes(client, canned):
    answer = await client.classify(b"a rose", model="flowers", explain=True)
    assert answer.best.activation_map == ((0, 1, 0.5), (-1, 0, 0.25))
    assert [other.activation_map for other in answer.classes[1:]] == [None, None]
    assert np.array(answer.best.activation_map).shape == (2, 3)
    (many,) = await client.classify_many([b"a rose"], model="flowers", explain=True)
    assert many == answer
    await client.classify(b"a rose", model="flowers")
    assert [request.explain for request in canned.requests] == [True, True, False]


async def test_the_heads_on_which_the_model_is_unsure_are_named(client, canned):
    canned.heads, canned.abstained = ("species", "colour"), ("colour",)
    answer = await client.classify(b"a rose", model="flowers")
    assert answer.abstained == ("colour",)
    assert answer.heads["colour"][0].label == "a rose"


@pytest.mark.parametrize(
    ("options", "spec", "top_k"),
    [
        ({}, pb.ModelSpec(name="flowers"), None),
        ({"version": 7, "top_k": 2}, pb.ModelSpec(name="flowers", version=7), 2),
        ({"version_label": "stable"}, pb.ModelSpec(name="flowers", version_label="stable"), None),
    ],
)
async def test_the_choice_of_version_and_classes_is_sent(client, canned, options, spec, top_k):
    await client.classify(b"a rose", model="flowers", **options)
    (request,) = canned.requests
    assert request.model == spec
    assert (request.top_k if request.HasField("top_k") else None) == top_k


async def test_two_choices_of_version_are_one_too_many(client, canned):
    with pytest.raises(ValueError, match="exclude each other"):
        await client.classify(b"a rose", model="flowers", version=1, version_label="stable")
    assert canned.requests == []


async def test_pictures_of_several_inputs_are_sent_by_name_and_answered_as_one(client, canned, tmp_path):
    path = tmp_path / "rose.png"
    path.write_bytes(b"a rose")
    pixels = np.zeros((2, 3, 1), np.uint8)
    answer = await client.classify({"left": path, "right": pixels, "third": b"a tulip"}, model="flowers")
    assert answer.best.label == "a rose"
    (request,) = canned.requests
    assert [(entry.name, list(entry.images)) for entry in request.inputs] == [
        ("left", [b"a rose"]),
        ("right", []),
        ("third", [b"a tulip"]),
    ]
    assert list(request.inputs[1].tensor.shape) == [1, 2, 3, 1]


async def test_a_refused_example_is_called_by_all_its_pictures(client):
    with pytest.raises(ImageRejected) as caught:
        await client.classify({"left": b"bad picture", "right": b"a rose"}, model="flowers")
    assert caught.value.image == "left and right"


async def test_a_picture_of_an_input_that_cant_travel_is_named(connect, server, canned):
    client = connect(server.address, max_message_bytes=MEBIBYTE)
    with pytest.raises(ImageRejected, match="right"):
        await client.classify({"left": b"a rose", "right": bytes(2 * MEBIBYTE)}, model="flowers")
    with pytest.raises(TypeError, match="right is a float"):
        await client.classify({"left": b"a rose", "right": 0.5}, model="flowers")
    assert canned.requests == []


async def test_every_form_of_an_encoded_picture_is_sent_as_its_bytes(client, canned, tmp_path):
    path = tmp_path / "rose.png"
    path.write_bytes(b"a rose")
    forms = [path, str(path), b"a rose", bytearray(b"a rose"), memoryview(b"a rose"), np.frombuffer(b"a rose", "uint8")]
    await client.classify_many(forms, model="flowers")
    (request,) = canned.requests
    assert list(request.inputs[0].images) == [b"a rose"] * len(forms)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64"])
async def test_an_array_is_sent_as_a_tensor_of_one_picture(client, canned, dtype):
    pixels = np.arange(24).reshape(2, 3, 4).astype(dtype)
    await client.classify(pixels, model="flowers")
    tensor = canned.requests[0].inputs[0].tensor
    assert (tensor.dtype, list(tensor.shape)) == (dtype, [1, 2, 3, 4])
    assert tensor.data == pixels.tobytes()


async def test_an_array_that_is_not_contiguous_is_sent_in_row_major_order(client, canned):
    pixels = np.arange(24, dtype="uint8").reshape(4, 3, 2).transpose(2, 1, 0)[:, ::-1]
    await client.classify(pixels, model="flowers")
    tensor = canned.requests[0].inputs[0].tensor
    assert list(tensor.shape) == [1, 2, 3, 4]
    assert tensor.data == np.ascontiguousarray(pixels).tobytes()


async def test_a_batch_of_one_is_one_picture(client, canned):
    await client.classify(np.zeros((1, 4, 5, 3), "uint8"), model="flowers")
    assert list(canned.requests[0].inputs[0].tensor.shape) == [1, 4, 5, 3]


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (np.zeros((2, 4, 5, 3), "uint8"), ValueError, r"shape \[2, 4, 5, 3\].*classify_many takes several"),
        (np.array(7, "uint8"), ValueError, r"shape \[\]"),
        (np.zeros((4, 5), ">f4"), ValueError, "little-endian"),
        (np.zeros((4, 5), "complex64"), ValueError, "format 'Zf'"),
        ([[1, 2], [3, 4]], TypeError, "image is a list"),
        (None, TypeError, "image is a NoneType"),
    ],
)
async def test_what_is_no_picture_is_told_before_anything_is_sent(client, canned, image, error, words):
    with pytest.raises(error, match=words):
        await client.classify(image, model="flowers")
    assert canned.requests == []


async def test_a_rejected_picture_is_raised_by_classify(client, tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"bad one")
    with pytest.raises(ImageRejected) as caught:
        await client.classify(path, model="flowers")
    assert (caught.value.image, caught.value.code) == (str(path), "INVALID_ARGUMENT")
    assert str(caught.value) == f"{path}: not an image: bad one"


async def test_many_are_answered_in_order_and_a_bad_one_harms_no_other(client, canned):
    images = [f"{'bad' if n % 7 == 3 else 'picture'} {n}".encode() for n in range(100)]
    answers = await client.classify_many(images, model="flowers", images_per_call=8)
    assert len(answers) == len(images)
    for image, answer in zip(images, answers, strict=True):
        if image.startswith(b"bad"):
            assert isinstance(answer, ImageRejected)
            assert answer.problem == f"not an image: {image.decode()}"
        else:
            assert answer.best.label == image.decode()
    assert answers[3].image == "image 3"
    assert sorted(len(request.inputs[0].images) for request in canned.requests) == [4] + [8] * 12


async def test_calls_stay_under_four_mebibytes_and_a_larger_picture_travels_alone(client, canned):
    sizes = [3 * MEBIBYTE // 2] * 3 + [6 * MEBIBYTE] + [1] * 3
    images = [f"picture {n} ".encode().ljust(size, b".") if size > 1 else b"p" for n, size in enumerate(sizes)]
    answers = await client.classify_many(images, model="flowers")
    assert [answer.best.label[:9] for answer in answers[:4]] == ["picture 0", "picture 1", "picture 2", "picture 3"]
    assert sorted(len(request.inputs[0].images) for request in canned.requests) == [1, 1, 2, 3]


async def test_files_bytes_and_arrays_can_be_mixed(client, canned, tmp_path):
    (tmp_path / "a.png").write_bytes(b"file")
    square, row = np.full((1, 1, 3), 7, "uint8"), np.full((1, 2, 3), 9, "uint8")
    answers = await client.classify_many(
        [tmp_path / "a.png", b"bytes", square, square, row, square.astype("float32"), b"end"], model="flowers"
    )
    pixels = [square.tobytes().hex(), row.tobytes().hex(), square.astype("float32").tobytes().hex()]
    labels = [answer.best.label for answer in answers]
    assert labels == ["file", "bytes", pixels[0], pixels[0], pixels[1], pixels[2], "end"]
    assert sorted(len(pictures_of(request)) for request in canned.requests) == [1, 1, 1, 2, 2]


async def test_an_array_of_pictures_is_many_pictures(client, canned):
    batch = np.arange(12, dtype="uint8").reshape(4, 1, 1, 3)
    answers = await client.classify_many(batch, model="flowers")
    assert [answer.best.label for answer in answers] == [picture.tobytes().hex() for picture in batch]
    assert [list(request.inputs[0].tensor.shape) for request in canned.requests] == [[4, 1, 1, 3]]


async def test_no_pictures_are_no_calls(client, canned):
    assert await client.classify_many([], model="flowers") == []
    assert canned.requests == []


async def test_a_missing_file_is_found_before_anything_is_sent(client, canned, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        await client.classify_many([b"first", tmp_path / "missing.png"], model="flowers", images_per_call=1)
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        await client.classify(str(tmp_path / "missing.png"), model="flowers")
    with pytest.raises(IsADirectoryError):
        await client.classify(tmp_path, model="flowers")
    assert canned.requests == []


@pytest.mark.parametrize("images", ["cat.jpg", b"bytes"])
async def test_one_picture_is_not_many(client, images):
    with pytest.raises(TypeError, match="use classify"):
        await client.classify_many(images, model="flowers")


async def test_a_picture_over_the_message_limit_is_rejected_without_the_others(connect, server, canned):
    client = connect(server.address, max_message_bytes=MEBIBYTE)
    large = bytes(MEBIBYTE)
    small, refused, other = await client.classify_many([b"small", large, b"other"], model="flowers")
    assert (small.best.label, other.best.label) == ("small", "other")
    assert isinstance(refused, ImageRejected)
    assert "1,048,576 bytes, over the 1,044,480" in str(refused)
    with pytest.raises(ImageRejected, match="over the"):
        await client.classify(large, model="flowers")
    assert len(canned.requests) == 2


async def test_a_server_with_a_lower_limit_is_an_error_that_says_so(connect, canned):
    with (
        Running(canned, max_message_bytes=MEBIBYTE) as server,
        pytest.raises(MessageTooLarge, match="smaller pictures a call"),
    ):
        await connect(server.address).classify(bytes(2 * MEBIBYTE), model="flowers")


@pytest.mark.parametrize("transport", ["grpcio", "native"])
async def test_so_is_that_of_a_real_server_on_either_transport(connect, transport, tmp_path):
    make_bundle(tmp_path)
    async with serving(tmp_path, transport=transport, max_message_mb=1) as (server, _):
        with pytest.raises(MessageTooLarge, match="smaller pictures a call"):
            await connect(f"{LOCALHOST}:{server.port}").classify(bytes(2 * MEBIBYTE), model="tiny")


async def test_pictures_of_the_usual_sizes_pass_the_default_limits(client, canned):
    answer = await client.classify(b"large".ljust(20 * MEBIBYTE, b"."), model="flowers")
    assert answer.best.label.startswith("large")


async def test_four_calls_are_in_flight_and_no_more(client, canned):
    canned.gate.clear()
    asked = asyncio.ensure_future(
        client.classify_many([str(n).encode() for n in range(20)], model="flowers", images_per_call=2)
    )
    await asyncio.to_thread(canned.wait_for_calls, 4)
    canned.gate.set()
    assert [answer.best.label for answer in await asked] == [str(n) for n in range(20)]
    assert (canned.peak, len(canned.requests)) == (4, 10)


@pytest.mark.parametrize("option", ["images_per_call", "calls_in_flight", "timeout"])
async def test_a_nonsense_option_is_named(client, option):
    with pytest.raises(ValueError, match=rf"{option}.*0"):
        await client.classify_many([b"a"], model="flowers", **{option: 0})


async def test_a_lost_result_is_an_error_and_shifts_no_answer(client, canned):
    canned.lost = 1
    with pytest.raises(ServerFailed, match="1 results came back for 2 pictures"):
        await client.classify_many([b"a", b"b"], model="flowers")
