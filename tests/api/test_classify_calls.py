"""Classify over a real connection: the right numbers, in the right order, for every way to send pictures."""

import asyncio

import numpy as np
import pytest
from bundles import encode
from expected import scores, scores_of_pixels
from servers import held, refused

from protos.classifier.v1 import classifier_pb2 as pb
from service.errors import RuntimeFailed

LABELS = ("red", "green", "blue")


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def pngs(count: int, seed: int = 0) -> list[bytes]:
    return [encode(each) for each in pixels(count, seed)]


def tensor(values: np.ndarray) -> pb.Input:
    return pb.Input(tensor=pb.Tensor(dtype=str(values.dtype), shape=values.shape, data=values.tobytes()))


def told(response: pb.ClassifyResponse) -> np.ndarray:
    """The scores of every picture, float32 [n, classes], by class index; every result must be complete and ordered."""
    rows = []
    for result in response.results:
        [answer] = result.classifications
        assert answer.head == "class"
        best = [each.score for each in answer.classes]
        assert best == sorted(best, reverse=True)
        assert [each.label for each in answer.classes] == [LABELS[each.index] for each in answer.classes]
        rows.append([score for _, score in sorted((each.index, each.score) for each in answer.classes)])
    return np.array(rows, np.float32)


async def test_encoded_pictures_get_the_model_s_scores(asked, tiny):
    mine = [encode(np.random.default_rng(1).integers(0, 256, (21, 34, 3), dtype=np.uint8), "JPEG"), *pngs(3)]
    response = await asked.classify(*mine)
    np.testing.assert_allclose(told(response), scores(tiny, mine), atol=1e-6)
    assert (response.model.name, response.model.version) == ("tiny", 1)


async def test_a_tensor_gets_the_model_s_scores(asked, tiny):
    response = await asked.call(tensor(pixels(5)))
    np.testing.assert_allclose(told(response), scores_of_pixels(tiny, pixels(5)), atol=1e-6)


@pytest.mark.parametrize("choice", [{}, {"version": 1}])
async def test_the_version_that_answers_is_told(asked, choice):
    response = await asked.classify(*pngs(1), model=pb.ModelSpec(name="tiny", **choice))
    assert response.model == pb.ModelSpec(name="tiny", version=1)


async def test_top_k_limits_the_classes(asked):
    for k in (1, 2, 3):
        response = await asked.classify(*pngs(2), top_k=k)
        assert [len(result.classifications[0].classes) for result in response.results] == [k, k]


async def test_the_input_may_be_named(asked, tiny):
    response = await asked.call(pb.Input(name="image", images=pngs(1)))
    np.testing.assert_allclose(told(response), scores(tiny, pngs(1)), atol=1e-6)


async def test_a_picture_of_one_pixel_is_answered(asked, tiny):
    dot = encode(np.array([[[200, 10, 60]]], np.uint8))
    np.testing.assert_allclose(told(await asked.classify(dot)), scores(tiny, [dot]), atol=1e-6)


async def test_a_thousand_pictures_in_one_call_are_answered_in_their_order(asked, tiny):
    response = await asked.classify(*pngs(1000))
    np.testing.assert_allclose(told(response), scores_of_pixels(tiny, pixels(1000)), atol=1e-6)
    assert asked.of_tiny("convoy_images_total") == 1000
    assert asked.of_tiny("convoy_pending_images") == 0


async def test_callers_side_by_side_get_their_own_answers(asked, tiny):
    sizes = [1, 2, 3, 40, 1, 7] * 5
    responses = await asyncio.gather(*(asked.classify(*pngs(size, seed)) for seed, size in enumerate(sizes)))
    for seed, (size, response) in enumerate(zip(sizes, responses, strict=True)):
        np.testing.assert_allclose(told(response), scores_of_pixels(tiny, pixels(size, seed)), atol=1e-6)
    assert asked.of_tiny("convoy_batch_size_sum") == sum(sizes)
    assert asked.of_tiny("convoy_batch_size_count") < sum(sizes)


async def test_good_pictures_are_answered_in_place_beside_bad_ones(asked, tiny):
    mine = pngs(6)
    mine[1], mine[4] = b"", mine[4][: len(mine[4]) // 2]
    response = await asked.classify(*mine)
    assert [result.HasField("error") for result in response.results] == [False, True, False, False, True, False]
    assert all(result.error.code == 3 for result in response.results if result.HasField("error"))
    assert "it has 0 bytes" in response.results[1].error.message
    good = [number for number in range(6) if number not in (1, 4)]
    answered = pb.ClassifyResponse(results=[response.results[number] for number in good])
    np.testing.assert_allclose(told(answered), scores(tiny, [mine[number] for number in good]), atol=1e-6)


async def test_the_times_of_a_call_are_told(asked):
    timing = (await asked.classify(*pngs(3))).timing
    assert timing.preprocess_us > 0
    assert timing.compute_us > 0
    assert timing.queue_us >= 0
    assert (await asked.call(tensor(pixels(1)))).timing.preprocess_us == 0


async def test_every_call_is_counted_under_its_code(asked):
    await asked.classify(*pngs(2))
    await refused(asked.classify())
    assert (asked.calls("OK"), asked.calls("INVALID_ARGUMENT")) == (1, 1)


async def test_a_runtime_that_fails_is_an_internal_error_and_the_next_call_is_answered(asked, monkeypatch, caplog):
    with held(asked.server) as gate:

        def fail(_inputs: object) -> None:
            raise RuntimeFailed("the device is on fire")

        monkeypatch.setattr(gate.behind, "run", fail)
        gate.open()
        code, sentence = await refused(asked.classify(*pngs(1)))
        monkeypatch.undo()
    assert (code, sentence) == ("INTERNAL", "the device is on fire")
    assert "batch failed" in caplog.text
    assert len((await asked.classify(*pngs(1))).results) == 1


async def test_a_defect_reaches_the_client_without_its_details(asked, monkeypatch, caplog):
    def stumble(_name: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(asked.server.models, "find", stumble)
    code, sentence = await refused(asked.classify(*pngs(1)))
    assert (code, sentence) == ("INTERNAL", "Classify failed inside the server; its log has the details")
    assert "secret" in caplog.text
