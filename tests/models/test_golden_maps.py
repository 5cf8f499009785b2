"""The golden gate of a model with activation maps: they are proved like the scores, at their own scale."""

import msgspec
import numpy as np
import pytest
from bundles import make_bundle
from explained import MAP, make_explained, maps

from bundle.preprocessing import Limits
from service.errors import ModelUnusable
from service.models.golden import check, prove
from service.models.ranked import RankedRuntime, maps_of
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime

CPU = Device("cpu")


def opened(bundle, *, explain=True):
    return open_runtime(bundle, engine="auto", device=CPU, threads=1, explain=explain)


def test_maps_that_the_model_does_not_give_are_refused(tmp_path):
    bundle = make_explained(tmp_path, wrong_maps=0.01)
    report = check(opened(bundle), bundle, bundle.variant("fp32"), Limits(), explain=True)
    # The maps' largest golden value is their unit: that of noise is a few units.
    assert not report.passed
    largest = np.abs(bundle.golden_outputs()[MAP]).max()
    assert report.max_difference == pytest.approx(0.01 / largest, rel=1e-3)
    with pytest.raises(ModelUnusable, match="does not reproduce"):
        prove(opened(bundle), bundle, 8, explain=True)


def test_right_maps_pass_and_count(tmp_path):
    bundle = make_explained(tmp_path)
    report = check(opened(bundle), bundle, bundle.variant("fp32"), Limits(), explain=True)
    assert report.passed
    assert report.top1_agreement == 1


def test_who_never_explains_is_not_asked_to(tmp_path):
    """A batch job has no use for maps, and opens no second session for them."""
    bundle = make_explained(tmp_path, wrong_maps=0.01)
    runtime = opened(bundle, explain=False)
    assert check(runtime, bundle, bundle.variant("fp32"), Limits()).passed
    assert runtime._models._explaining is None


def test_who_does_not_ask_does_not_run_the_second_session(tmp_path):
    class Untouchable:
        def __call__(self, *_):
            raise AssertionError("it was run")

    bundle = make_explained(tmp_path)
    runtime = opened(bundle)
    pixels = np.zeros((2, 16, 16, 3), np.uint8)
    usual = runtime.run({"image": pixels})
    runtime._models._explaining = Untouchable()
    assert runtime.run({"image": pixels}).keys() == usual.keys() == {"probabilities"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"explain": "absent.onnx"}, "absent.onnx"),
        ({"explain": "model.onnx"}, f"declares output {MAP!r}, the graph has 'probabilities'"),
    ],
)
def test_a_file_that_does_not_explain_is_refused_when_it_is_opened(tmp_path, change, sentence):
    bundle = make_explained(tmp_path)
    variant = msgspec.structs.replace(bundle.variant("fp32"), **change)
    manifest = msgspec.structs.replace(bundle.manifest, variants=(variant,))
    with pytest.raises(ModelUnusable, match=sentence):
        opened(type(bundle)(bundle.path, manifest))


def test_only_the_ranked_classes_maps_are_kept(tmp_path):
    bundle = make_explained(tmp_path)
    runtime = RankedRuntime(opened(bundle), bundle.manifest.heads)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    outputs = runtime.run({"image": pixels}, explain=True)
    assert MAP not in outputs
    kept = outputs[maps_of("class")]
    assert (kept.shape, kept.dtype) == ((3, 5, 4, 4), np.float32)
    best = outputs["probabilities"].argmax(axis=1)
    for row, index in enumerate(best):
        assert np.allclose(kept[row, 0], maps(pixels)[row, :, :, index], atol=1e-5)


def test_a_model_without_maps_is_opened_as_ever(tmp_path):
    bundle = make_bundle(tmp_path)
    assert check(opened(bundle), bundle, bundle.variant("fp32"), Limits(), explain=True).passed
