"""The gate between a variant and the repository, and what a server makes of a variant that is not what it was."""

import json
import shutil

import numpy as np
import onnx
import pytest
import shapes
from onnx import numpy_helper

from bundle import store
from bundle.preprocessing import Limits
from service.models import golden
from service.runtimes.devices import Device
from service.runtimes.opening import open_runtime
from training.errors import VariantRefused
from training.evaluate import Evaluation
from training.publish import train_and_publish
from training.tasks import TASKS
from training.variants import Gate, calibration_rows, judge, tolerance

TRUTH = np.arange(1000) % 4


def answered(wrong, shifted=0):
    """Answers of which the first `wrong` are wrong; `shifted` more are wrong in another way."""
    predicted = TRUTH.copy()
    predicted[:wrong] = (predicted[:wrong] + 1) % 4
    predicted[:shifted] = (predicted[:shifted] + 1) % 4
    return Evaluation(TRUTH, predicted, np.full(1000, 0.9, np.float32), 4)


def test_within_both_limits_the_least_agreement_is_given():
    exact = {"class": answered(50), "other": answered(0)}
    found = {"class": answered(55), "other": answered(3)}
    assert judge(exact, found, Gate(max_loss=0.005, min_agreement=0.99)) == 0.995


def test_a_loss_over_the_limit_is_refused_with_the_figures():
    with pytest.raises(VariantRefused) as refused:
        judge({"class": answered(50)}, {"class": answered(58)}, Gate())
    assert str(refused.value) == (
        "head 'class' is right on 94.20% of the test pictures in place of 95.00%, and gives the same class on 99.20%; "
        "allowed are a loss of 0.5 points and an agreement of 99.00%"
    )


def test_other_answers_that_are_as_often_right_are_refused():
    with pytest.raises(VariantRefused, match=r"and gives the same class on 98.00%"):
        judge({"class": answered(50)}, {"class": answered(50, shifted=20)}, Gate())


def test_every_head_must_pass():
    with pytest.raises(VariantRefused, match="head 'other' is right on"):
        judge({"class": answered(0), "other": answered(0)}, {"class": answered(0), "other": answered(9)}, Gate())


def test_the_tolerance_is_twice_what_was_seen():
    rows = {"image": np.zeros((70, 1), np.float32)}
    one, other = np.zeros((70, 3)), np.zeros((70, 3))
    other[66, 1] = 0.04
    given = [iter(np.split(array, [32, 64])) for array in (one, other)]
    runs = [lambda _, batches=batches: {"probabilities": next(batches)} for batches in given]
    assert tolerance(*runs, rows) == pytest.approx(0.08 + 1e-4)


def test_calibration_pictures_come_from_all_over_the_split(dataset):
    by_class = np.argsort(dataset.train.labels, kind="stable")
    ordered = shapes.dataset()
    ordered = type(ordered)(
        name="sorted",
        class_names=ordered.class_names,
        train=type(ordered.train)(dataset.train.images[by_class], dataset.train.labels[by_class]),
        validation=ordered.validation,
        test=ordered.test,
        digest=ordered.digest,
    )
    rows = calibration_rows(ordered, TASKS["classification"](ordered), 9)["image"]
    places = [np.flatnonzero((ordered.train.images == row).all(axis=(1, 2, 3)))[0] for row in rows]
    assert np.bincount(ordered.train.labels[places]).tolist() == [3, 3, 3]
    assert len(calibration_rows(ordered, TASKS["classification"](ordered), 10**6)["image"]) == 600


def test_what_is_published_says_how_good_it_is(published, dataset):
    variant = published.variant("int8")
    metrics = json.loads((published.path / "report" / "metrics.json").read_text())
    assert (variant.format, variant.precision, variant.path) == ("onnx", "int8", "model.int8.onnx")
    assert variant.agreement >= 0.99
    assert variant.accuracy >= metrics["test_accuracy"] - 0.005
    assert 1e-4 < variant.tolerance < 0.5
    assert published.manifest.variants[0].precision == "fp32"


def check(bundle):
    runtime = open_runtime(bundle, engine="onnx", device=Device("cpu"), threads=1, variant="int8")
    try:
        return golden.check(runtime, bundle, bundle.variant("int8"), Limits())
    finally:
        runtime.close()


def test_a_server_reproduces_its_golden_samples(published):
    report = check(published)
    assert report.passed
    assert report.max_difference > 1e-4


def test_a_server_refuses_one_that_computes_something_else(published, tmp_path):
    """As a processor would whose sums overflow: one channel's weights are not what they were."""
    copied = store.open_bundle(shutil.copytree(published.path, tmp_path / "shapes" / "1"))
    model = onnx.load(copied.path / "model.int8.onnx")
    kernel = max((each for each in model.graph.initializer if len(each.dims) == 4), key=lambda each: each.dims[0])
    changed = numpy_helper.to_array(kernel).copy()
    changed[: len(changed) // 2] = 0
    kernel.CopyFrom(numpy_helper.from_array(changed, kernel.name))
    onnx.save(model, copied.path / "model.int8.onnx")
    assert not check(copied).passed


@pytest.mark.usefixtures("brief", "proved_here")
def test_a_variant_that_is_refused_costs_only_itself(tmp_path):
    """Calibrated on one black picture, its ranges hold nothing else, and every picture looks alike to it."""
    dataset = shapes.dataset()
    dataset.train.images[0] = 0
    said = []
    bundle = train_and_publish(shapes.config(int8_pictures=1), dataset, tmp_path, said.append)
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx", "saved_model"]
    assert not (bundle.path / "model.int8.onnx").exists()
    assert any(
        "no int8 variant is published, only the exact model: head 'class' is right on" in sentence for sentence in said
    )
