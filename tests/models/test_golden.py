"""The golden gate, with a real runtime and with real runtimes whose answers are bent in the ways that go wrong."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from bundles import make_bundle

from bundle.preprocessing import Limits
from bundle.store import Bundle
from service.errors import ModelUnusable, RuntimeFailed
from service.models import golden
from service.models.golden import check
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime

SAMPLES = 5


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("repository"), golden=SAMPLES)


class Bent:
    """A real runtime whose scores go through `bend`; it keeps the pixels of every batch that it was given."""

    def __init__(self, bundle, bend=lambda scores: scores):
        self._runtime = open_runtime(bundle, engine="auto", device=Device("cpu"), threads=1)
        self._bend = bend
        self.info = self._runtime.info
        self.batches = []

    def run(self, inputs):
        self.batches.append(inputs["image"].copy())
        return {"probabilities": self._bend(self._runtime.run(inputs)["probabilities"])}

    def close(self):
        self._runtime.close()


def prove(bundle, bend=lambda scores: scores, **options):
    return check(Bent(bundle, bend), bundle, bundle.variant("fp32"), Limits(), **options)


def test_a_faithful_variant_passes(bundle):
    report = prove(bundle)
    assert report.passed
    assert (report.variant, report.samples, report.tolerance) == ("fp32", SAMPLES, 1e-4)
    assert 0 <= report.mean_difference <= report.max_difference < 1e-6
    assert report.top1_agreement == 1.0
    assert "reproduces its 5 golden samples" in str(report)


def test_expected_outputs_that_the_model_does_not_give_fail(tmp_path):
    report = prove(make_bundle(tmp_path, corrupt_golden=True))
    assert not report.passed
    assert report.max_difference > 0.1
    assert report.top1_agreement < 1
    assert "does not reproduce" in str(report)
    assert f"at sample {report.worst_sample}, over the tolerance of 0.0001" in str(report)


def test_every_sample_runs_alone_among_others_and_all_at_once(bundle):
    runtime = Bent(bundle)
    check(runtime, bundle, bundle.variant("fp32"), Limits())
    sizes = [len(batch) for batch in runtime.batches]
    assert sizes == [1] * SAMPLES + [3, 3] + [SAMPLES]
    for size in (1, 3, SAMPLES):
        rows = np.concatenate([batch for batch in runtime.batches if len(batch) == size])
        assert len({row.tobytes() for row in rows}) == SAMPLES


def test_a_batch_size_above_the_samples_is_really_run(bundle):
    runtime = Bent(bundle)
    assert check(runtime, bundle, bundle.variant("fp32"), Limits(), batch_sizes=(1, 16)).passed
    assert [len(batch) for batch in runtime.batches] == [1] * SAMPLES + [16]


def test_very_many_samples_are_not_run_all_at_once(tmp_path):
    bundle = make_bundle(tmp_path, golden=70)
    runtime = Bent(bundle)
    report = check(runtime, bundle, bundle.variant("fp32"), Limits())
    assert (report.samples, report.passed) == (70, True)
    assert [len(batch) for batch in runtime.batches if len(batch) > 3] == [64, 64]


def test_one_sample_is_enough_to_fill_every_batch(tmp_path):
    assert prove(make_bundle(tmp_path, golden=1)).samples == 1


def shift(scores, row, by):
    bent = scores.copy()
    bent[row] += by
    return bent


@pytest.mark.parametrize(
    "bend",
    [
        lambda scores: scores - scores.mean(axis=0) * (len(scores) > 1),  # right alone, wrong among others
        lambda scores: scores[::-1],  # rows in the wrong order
        lambda scores: shift(scores, -1, 0.01 * (len(scores) == SAMPLES)),  # wrong at the end of a large batch only
        lambda scores: shift(scores, 0, 0.01 * (len(scores) == 1)),  # wrong alone only
    ],
    ids=["neighbours", "order", "large", "alone"],
)
def test_an_answer_that_depends_on_the_batch_fails(bundle, bend):
    report = prove(bundle, bend)
    assert not report.passed
    assert report.max_difference > 0.005


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_fails(bundle, value):
    report = prove(bundle, lambda scores: shift(scores, 0, value))
    assert not report.passed
    assert not math.isfinite(report.max_difference)


def test_a_nan_in_a_single_run_is_not_hidden_by_the_other_runs(bundle):
    report = prove(bundle, lambda scores: shift(scores, 2, np.nan) if len(scores) == SAMPLES else scores)
    assert math.isnan(report.max_difference)
    assert not report.passed


def test_the_figures_are_those_of_the_differences(bundle):
    report = prove(bundle, lambda scores: scores + np.array([0.25, 0, 0], np.float32))
    assert report.max_difference == pytest.approx(0.25, abs=1e-5)
    assert report.mean_difference == pytest.approx(0.25 / 3, abs=1e-5)


def test_the_agreement_is_the_share_of_rows(bundle):
    report = prove(bundle, lambda scores: np.roll(scores, 1, axis=1) if len(scores) == SAMPLES else scores)
    assert report.top1_agreement == (SAMPLES + 6) / (SAMPLES + 6 + SAMPLES)  # alone and by three, of those and all


def test_the_worst_sample_is_named_by_its_place_in_the_bundle(bundle):
    wanted = bundle.golden_outputs()["probabilities"][3]

    def bend(scores):
        return shift(scores, np.abs(scores - wanted).max(axis=1) < 1e-4, 0.5)

    assert prove(bundle, bend).worst_sample == 3


def test_a_wrong_shape_is_refused(bundle):
    with pytest.raises(ModelUnusable, match=r"shape \[1, 2\] for a batch of 1, the golden outputs have \[1, 3\]"):
        prove(bundle, lambda scores: scores[:, :2])


def test_a_runtime_that_throws_is_not_swallowed(bundle):
    runtime = Bent(bundle)
    runtime.close()
    with pytest.raises(RuntimeFailed):
        check(runtime, bundle, bundle.variant("fp32"), Limits())


def with_golden(bundle, **changes):
    golden = msgspec.structs.replace(bundle.manifest.golden, **changes)
    return Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, golden=golden))


def test_without_golden_pictures_nothing_is_proved(bundle):
    with pytest.raises(ModelUnusable, match="no golden pictures"):
        prove(with_golden(bundle, images={"image": ()}))
    with pytest.raises(ModelUnusable, match="no golden pictures"):
        prove(with_golden(bundle, images={}))


def test_pictures_and_outputs_must_be_as_many(bundle):
    names = bundle.manifest.golden.images["image"]
    with pytest.raises(ModelUnusable, match="does not hold one sample for each of 4 pictures"):
        prove(with_golden(bundle, images={"image": names[:-1]}))


def test_outputs_that_lack_one_of_the_signature_are_refused(tmp_path):
    bundle = make_bundle(tmp_path)
    np.savez(bundle.path / "golden" / "outputs.npz", scores=np.zeros((4, 3), np.float32))
    with pytest.raises(ModelUnusable, match="holds 'scores', but the outputs are 'probabilities'"):
        prove(bundle)


@pytest.mark.parametrize("name", ["golden/outputs.npz", "golden/00.png"])
@pytest.mark.parametrize("content", [None, b"garbage"])
def test_golden_files_that_can_not_be_read_are_refused(tmp_path, name, content):
    bundle = make_bundle(tmp_path)
    (bundle.path / name).unlink() if content is None else (bundle.path / name).write_bytes(content)
    with pytest.raises(ModelUnusable, match="can't be read"):
        prove(bundle)


def test_pictures_over_the_limits_are_refused_like_any_request(bundle):
    with pytest.raises(ModelUnusable, match="a golden picture of input 'image' can't be read"):
        check(Bent(bundle), bundle, bundle.variant("fp32"), Limits(max_pixels=10))


def test_an_input_without_preprocessing_can_not_be_proved(bundle):
    blind = Bundle(bundle.path, msgspec.structs.replace(bundle.manifest, preprocessing=()))
    with pytest.raises(ModelUnusable, match="'image' has no preprocessing"):
        prove(blind)


@pytest.mark.parametrize(
    ("padded", "most", "sizes"),
    [
        (False, 1, {1, 3}),
        (False, 20, {1, 3, 20}),
        (True, 1, {1}),
        (True, 2, {1, 2}),
        (True, 8, {1, 2, 3, 4, 6, 8}),
        (True, 20, {1, 2, 3, 4, 6, 8, 12, 16, 20, 24}),
    ],
)
def test_the_proof_runs_batches_of_every_kind_that_there_may_be(bundle, padded, most, sizes):
    runtime = Bent(bundle)
    runtime.info = replace(runtime.info, padded=padded)
    golden.prove(runtime, bundle, most)
    assert {len(pixels) for pixels in runtime.batches} == sizes
