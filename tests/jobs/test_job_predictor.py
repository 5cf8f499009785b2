"""The predictor of batch jobs: answers of a real model, a failure in its place, and arguments that travel."""

from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from multiprocessing import get_context

import msgspec
import numpy as np
import pytest
from bundles import encode, make_bundle

from bundle.errors import BundleInvalid, BundleNotFound
from bundle.manifest import TensorSpec
from bundle.preprocessing import Limits, decode
from bundle.publishing import publish, staging
from service.errors import DeviceUnavailable, ModelUnusable, RuntimeFailed, SettingsError
from service.jobs import predictor as predictor_module
from service.jobs.predictor import Failure, HeadPrediction, Prediction, Predictor
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime

LABELS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("repository"), labels=LABELS)


@pytest.fixture
def opened(bundle):
    """Opens predictors of the bundle and closes them after the test."""
    predictors = []

    def open_one(path=bundle.path, **options):
        predictors.append(Predictor(path, **options))
        return predictors[-1]

    yield open_one
    for predictor in predictors:
        predictor.close()


def pictures(number, seed=0):
    random = np.random.default_rng(seed)
    return [encode(random.integers(0, 256, (10, 12, 3), dtype=np.uint8)) for _ in range(number)]


def scores_of(bundle, image):
    """One picture alone through the runtime, without the predictor."""
    runtime = open_runtime(bundle, engine="auto", device=Device("cpu"), threads=1)
    pixels = decode(image, bundle.manifest.preprocessing[0])
    return runtime.run({"image": pixels[np.newaxis]})["probabilities"][0]


@pytest.mark.parametrize("number", [1, 4, 5, 23])
def test_every_picture_gets_its_own_best_classes(bundle, opened, number):
    images = pictures(number)
    answers = opened(batch_size=4)(images)
    assert len(answers) == number
    for image, answer in zip(images, answers, strict=True):
        scores = scores_of(bundle, image)
        head = answer.heads["class"]
        assert head.indices == tuple(np.argsort(-scores)[:5].tolist())
        assert head.labels == tuple(LABELS[index] for index in head.indices)
        np.testing.assert_allclose(head.scores, scores[list(head.indices)], atol=1e-6)


def test_no_pictures_give_no_answers(opened):
    assert opened()([]) == []


def test_a_bad_picture_fails_alone_and_in_its_place(opened):
    good = pictures(6)
    predictor = opened(batch_size=4)
    mixed = [b"", *good[:2], b"garbage", good[2][:200], *good[3:]]
    answers = predictor(mixed)
    assert [isinstance(answer, Failure) for answer in answers] == [True, False, False, True, True, False, False, False]
    assert [answers[place] for place in (1, 2, 5, 6, 7)] == predictor([good[0], good[1], good[3], good[4], good[5]])
    assert "0 bytes" in answers[0].reason


def test_a_batch_of_bad_pictures_runs_nothing_and_the_next_one_works(opened):
    answers = opened(batch_size=2)([b"", b"", *pictures(1)])
    assert [type(answer) for answer in answers] == [Failure, Failure, Prediction]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_has_the_bytes_of_a_file_is_a_picture_or_a_failure_as_bytes_are(opened, kind):
    images = [*pictures(3), b"", b"garbage", encode(np.zeros((10, 12, 3), np.uint8), "JPEG")]
    predictor = opened(batch_size=4)
    assert predictor([kind(image) for image in images]) == predictor(images)


def test_limits_are_kept(opened):
    (answer,) = opened(limits=Limits(max_side=11))(pictures(1))
    assert isinstance(answer, Failure)


def test_a_stream_has_no_end(opened):
    endless = cycle([*pictures(3), Failure("the file can't be read")])
    answers = list(islice(opened(batch_size=2).stream(endless), 40))
    assert answers[3] == Failure("the file can't be read")
    assert answers[:4] * 10 == answers


@pytest.mark.parametrize(("top_k", "length"), [(None, 5), (1, 1), (7, 7)])
def test_top_k_classes_are_given(opened, top_k, length):
    (answer,) = opened(top_k=top_k)(pictures(1))
    assert isinstance(answer.heads["class"], HeadPrediction)
    assert len(answer.heads["class"].labels) == length


def test_a_model_of_few_classes_gives_all_of_them(opened, tmp_path):
    (answer,) = opened(make_bundle(tmp_path).path)(pictures(1))
    assert set(answer.heads["class"].labels) == {"red", "green", "blue"}
    assert sum(answer.heads["class"].scores) == pytest.approx(1)


@pytest.mark.parametrize("top_k", [0, -1, 8])
def test_an_impossible_top_k_is_refused(opened, top_k):
    with pytest.raises(SettingsError, match=f"top_k is {top_k}, it must be between 1 and the model's 7 classes"):
        opened(top_k=top_k)


def published_again(bundle, repository, **changes):
    """The same files under a manifest with other values."""
    with staging(repository, "changed") as staged:
        for name in bundle.manifest.files:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes((bundle.path / name).read_bytes())
        return publish(staged, msgspec.structs.replace(bundle.manifest, **changes), repository, "changed")


def test_every_head_answers(bundle, opened, tmp_path):
    head = bundle.manifest.heads[0]
    two = published_again(bundle, tmp_path, heads=(head, msgspec.structs.replace(head, name="again")))
    predictor = opened(two.path)
    assert predictor.heads == ("class", "again")
    (answer,) = predictor(pictures(1))
    assert answer.heads["class"] == answer.heads["again"]


def test_a_folder_of_a_model_means_its_highest_version(bundle, opened, tmp_path):
    make_bundle(tmp_path, seed=1)
    highest = make_bundle(tmp_path, seed=2)
    assert opened(tmp_path / "tiny").bundle.path == highest.path
    assert opened(tmp_path).bundle.version == 2


def test_a_model_that_gives_other_outputs_than_keras_is_not_used(opened, tmp_path):
    with pytest.raises(ModelUnusable, match="does not reproduce its 4 golden samples"):
        opened(make_bundle(tmp_path, corrupt_golden=True).path)


class WrongInLargeBatches:
    """A real runtime that mixes up the rows of batches above a size."""

    def __init__(self, runtime, size):
        self.info, self.close, self._runtime, self._size = runtime.info, runtime.close, runtime, size

    def run(self, inputs):
        outputs = self._runtime.run(inputs)
        large = len(inputs["image"]) > self._size
        return {name: values[::-1] for name, values in outputs.items()} if large else outputs


def test_the_golden_samples_are_run_in_batches_as_large_as_the_job_s(opened, monkeypatch):
    def open_one(*arguments, **options):
        return WrongInLargeBatches(open_runtime(*arguments, **options), 8)

    monkeypatch.setattr(predictor_module, "open_runtime", open_one)
    opened(batch_size=8)
    with pytest.raises(ModelUnusable, match="does not reproduce its 4 golden samples"):
        opened(batch_size=9)


def test_a_changed_file_is_found(opened, tmp_path):
    bundle = make_bundle(tmp_path)
    (bundle.path / "labels" / "class.txt").write_text("red\nblue\ngreen\n")
    with pytest.raises(BundleInvalid, match=r"labels/class\.txt"):
        opened(bundle.path)


def test_a_model_of_two_inputs_is_refused(bundle, opened, tmp_path):
    signature = bundle.manifest.signature
    inputs = (*signature.inputs, TensorSpec(name="mask", dtype="float32", shape=(None,)))
    two = published_again(bundle, tmp_path, signature=msgspec.structs.replace(signature, inputs=inputs))
    with pytest.raises(ModelUnusable, match=r"takes the inputs \['image', 'mask'\]"):
        opened(two.path)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"batch_size": 0}, SettingsError, "batch size is 0"),
        ({"threads": -1}, SettingsError, "threads is -1"),
        ({"device": Device("cuda")}, DeviceUnavailable, "cuda:0"),
        ({"engine": "tensorflow"}, ModelUnusable, "engine tensorflow"),
    ],
)
def test_mistakes_are_found_while_it_opens(opened, options, error, said):
    with pytest.raises(error, match=said):
        opened(**options)


def test_a_folder_without_a_model_is_said(opened, tmp_path):
    with pytest.raises(BundleNotFound):
        opened(tmp_path)


def test_it_is_used_up_after_close(bundle):
    with Predictor(bundle.path) as predictor:
        pass
    with pytest.raises((RuntimeFailed, RuntimeError)):
        predictor(pictures(1))


def test_another_process_opens_its_own_with_the_same_arguments(bundle, opened):
    """The seam for distributed engines: what they send to a worker are arguments and bytes."""
    options = {"engine": "onnx", "device": Device("cpu"), "threads": 1, "batch_size": 2, "top_k": 3, "limits": Limits()}
    images = [*pictures(5), b"garbage"]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        answers = process.submit(predict, bundle.path, options, images).result()
    assert answers == opened(**options)(images)


def predict(path, options, images):
    with Predictor(path, **options) as predictor:
        return predictor(images)
