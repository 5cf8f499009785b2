"""The way of a call without the wire: decode, batch, run, best classes; bad pictures in place."""

import asyncio
import threading

import numpy as np
import pytest
from bundles import encode, make_bundle
from expected import scores, scores_of_pixels
from own_rows import own_heads
from servers import settings

from bundle.preprocessing import Limits
from service.batching.batcher import Batcher
from service.errors import DeadlinePassed, RequestInvalid
from service.inference import dataplane, decoders
from service.inference.dataplane import DataPlane
from service.inference.decoding import decode_part
from service.inference.values import Form, Request
from service.models import repository as folder
from service.models.loader import Loader
from service.models.registry import Registry
from service.models.version import ModelQuery
from service.telemetry.metrics import Metrics

TINY = ModelQuery("tiny")


@pytest.fixture
def people(one_model):
    plane = DataPlane(one_model, limits=Limits(), max_images_per_call=100)
    yield plane
    plane.close()


def pictures(count: int, size: int = 8) -> list[bytes]:
    """PNGs that all differ."""
    pixels = np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return [encode(each) for each in pixels]


def sample(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "tiny", "version": "1"})


async def test_pictures_get_the_scores_of_the_model_best_first(plane, tiny):
    mine = pictures(5, size=20)
    answer = await plane.classify(Request(TINY, {"": mine}, top_k=3))
    [head] = own_heads(answer)
    wanted = scores(tiny, mine)
    assert head.indices.tolist() == np.argsort(-wanted, axis=1).tolist()
    np.testing.assert_allclose(head.scores, -np.sort(-wanted, axis=1), atol=1e-6)
    assert (answer.servable.bundle.version, answer.count, answer.errors) == (1, 5, {})
    assert head.labels == ("red", "green", "blue")


async def test_a_tensor_gets_the_same_scores(plane, tiny):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    [head] = own_heads(await plane.classify(Request(TINY, {"image": pixels}, top_k=1)))
    wanted = scores_of_pixels(tiny, pixels)
    assert head.indices.ravel().tolist() == wanted.argmax(axis=1).tolist()
    np.testing.assert_allclose(head.scores.ravel(), wanted.max(axis=1), atol=1e-6)


async def test_requests_of_one_form_are_checked_once_by_every_version(plane, people, tiny, monkeypatch):
    form = Form()
    first, second = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)

    async def best(values: np.ndarray) -> list[list[int]]:
        [head] = own_heads(await plane.classify(Request(TINY, {"": values}, top_k=1, form=form)))
        return head.indices.tolist()

    assert await best(first) == scores_of_pixels(tiny, first).argmax(axis=1, keepdims=True).tolist()
    with monkeypatch.context() as patch:
        patch.setattr(dataplane, "check_input", None)
        assert await best(second) == scores_of_pixels(tiny, second).argmax(axis=1, keepdims=True).tolist()
    with pytest.raises(RequestInvalid, match="takes"):
        await people.classify(Request(ModelQuery("people"), {"": first}, top_k=1, form=form))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 37, 100])
async def test_every_picture_gets_its_own_answer_however_the_call_is_cut(plane, tiny, count):
    mine = pictures(count)
    [head] = own_heads(await plane.classify(Request(TINY, {"": mine}, top_k=3)))
    np.testing.assert_allclose(head.scores, -np.sort(-scores(tiny, mine)), atol=1e-6)


async def test_bad_pictures_get_errors_of_their_own_and_the_others_are_answered(plane, tiny, metrics):
    mine = pictures(9)
    bad = {0: b"", 4: b"no picture", 5: mine[5][:-30], 8: pictures(1, size=101)[0]}
    answer = await plane.classify(Request(TINY, {"": [bad.get(i, good) for i, good in enumerate(mine)]}, top_k=3))
    good = [picture for number, picture in enumerate(mine) if number not in bad]
    np.testing.assert_allclose(own_heads(answer)[0].scores, -np.sort(-scores(tiny, good)), atol=1e-6)
    assert answer.errors.keys() == bad.keys()
    assert "101 x 101" in answer.errors[8]
    assert (sample(metrics, "convoy_images_total"), sample(metrics, "convoy_images_rejected_total")) == (5, 4)


async def test_a_call_of_bad_pictures_alone_is_answered_without_a_run(plane, metrics):
    answer = await plane.classify(Request(TINY, {"": [b"bad", b"worse"]}))
    assert (own_heads(answer), answer.errors.keys()) == ([], {0, 1})
    assert sample(metrics, "convoy_batch_size_count") == 0


async def test_the_times_are_those_of_the_call(plane):
    answer = await plane.classify(Request(TINY, {"": pictures(9)}))
    assert answer.preprocess_seconds > 0
    assert answer.queue_seconds >= 0
    assert answer.compute_seconds > 0
    assert (await plane.classify(Request(TINY, {"": np.zeros((1, 8, 8, 3), np.uint8)}))).preprocess_seconds == 0


@pytest.mark.parametrize("k", [1, 5, 6, 8])
async def test_the_best_classes_are_the_same_whether_the_batch_or_the_call_ranks_them(tmp_path, k):
    bundle = make_bundle(tmp_path, "many", labels=tuple("abcdefgh"))
    metrics = Metrics()
    registry = Registry(Loader(settings(tmp_path, max_batch_size=4), metrics), metrics, lambda: None)
    await registry.reconcile(folder.scan(tmp_path))
    plane, mine = DataPlane(registry, limits=Limits(), max_images_per_call=100), pictures(9)
    [head] = own_heads(await plane.classify(Request(ModelQuery("many"), {"": mine}, top_k=k)))
    wanted = scores(bundle, mine)
    assert head.indices.tolist() == np.argsort(-wanted, axis=1)[:, :k].tolist()
    np.testing.assert_allclose(head.scores, -np.sort(-wanted, axis=1)[:, :k], atol=1e-6)
    plane.close()
    await registry.close()


async def test_a_deadline_that_has_passed_is_told_as_such_however_the_call_is_cut(plane, metrics):
    for values in (pictures(1), pictures(30), np.zeros((9, 8, 8, 3), np.uint8)):
        with pytest.raises(DeadlinePassed):
            await plane.classify(Request(TINY, {"": values}, deadline=0.0))
    assert sample(metrics, "convoy_batch_size_count") == 0
    assert sample(metrics, "convoy_pending_images") == 0


@pytest.mark.parametrize("count", [1, 100])
async def test_a_caller_that_leaves_gives_its_places_back_and_nothing_is_run_for_it(plane, metrics, count):
    leaving = asyncio.ensure_future(plane.classify(Request(TINY, {"": pictures(count, size=90)})))
    await asyncio.sleep(0)
    assert sample(metrics, "convoy_pending_images") == count
    leaving.cancel()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    assert sample(metrics, "convoy_pending_images") == 0
    await plane.classify(Request(TINY, {"": pictures(1)}))
    assert sample(metrics, "convoy_batch_size_sum") == 1


async def test_a_caller_that_leaves_while_its_picture_is_decoded_gives_its_place_back(plane, metrics, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()

    def held(*arguments):
        begun.set()
        may_end.wait()
        return decode_part(*arguments)

    monkeypatch.setattr(decoders, "decode_part", held)
    leaving = asyncio.ensure_future(plane.classify(Request(TINY, {"": pictures(1)})))
    await asyncio.to_thread(begun.wait)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert sample(metrics, "convoy_pending_images") == 0
    may_end.set()
    await plane.classify(Request(TINY, {"": pictures(1)}))
    assert sample(metrics, "convoy_batch_size_sum") == 1


async def test_a_refused_call_takes_no_place(plane, metrics):
    with pytest.raises(RequestInvalid):
        await plane.classify(Request(TINY, {"": pictures(2)}, top_k=9))
    assert sample(metrics, "convoy_pending_images") == 0


@pytest.mark.parametrize("owner", [Batcher, decoders.Decoders])
async def test_a_call_that_can_not_be_handed_on_gives_its_places_and_its_version_back(
    plane, metrics, monkeypatch, owner
):
    def fails(*_arguments, **_options):
        raise MemoryError("no room for one more")

    monkeypatch.setattr(owner, "submit" if owner is Batcher else "decode", fails)
    version = plane._models.find(TINY)
    leases = version._leases
    pixels = np.zeros((2, 8, 8, 3), np.uint8) if owner is Batcher else pictures(2)
    with pytest.raises(MemoryError):
        await plane.classify(Request(TINY, {"": pixels}))
    assert sample(metrics, "convoy_pending_images") == 0
    assert version._leases == leases


async def test_two_inputs_travel_together_past_a_bad_picture(people):
    photos = [encode(np.full((2, 2, 1), value, np.uint8)) for value in (0, 100, 200, 250)]
    photos[1] = b"no picture"
    ages = np.array([[1], [2], [3], [4]], np.float32)
    answer = await people.classify(Request(ModelQuery("people"), {"age": ages, "photo": photos}, top_k=3))
    colour, old = own_heads(answer)
    assert answer.errors.keys() == {1}
    assert colour.indices.tolist() == [[1, 0, 2], [2, 1, 0], [2, 1, 0]]
    np.testing.assert_allclose(colour.scores[:, 0], [0.5, 200 / 255, 250 / 255], rtol=1e-6)
    assert old.scores[:, 0].tolist() == [1, 3, 4]


async def test_top_k_above_a_small_head_s_classes_gives_all_of_them(people):
    inputs = {"age": np.ones((1, 1), np.float32), "photo": np.zeros((1, 2, 2, 1), np.uint8)}
    colour, old = own_heads(await people.classify(Request(ModelQuery("people"), inputs, top_k=3)))
    assert (colour.indices.shape, old.indices.shape) == ((1, 3), (1, 2))
