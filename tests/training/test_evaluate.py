import numpy as np
import pytest
from bundles import make_bundle
from PIL import Image

from bundle.preprocessing import decode
from training import replay
from training.datasets import Dataset, Split
from training.datasets.encoding import encode
from training.evaluate import Evaluation, evaluate
from training.tasks.classification import task


def evaluation(labels, predicted, classes=3):
    scores = np.full(len(labels), 0.5, np.float32)
    return Evaluation(np.array(labels), np.array(predicted), scores, classes)


def evaluated(bundle, split):
    names = bundle.labels("class")
    dataset = Dataset("pictures", names, split, split, split, "sha256:" + "0" * 64)
    run = replay.open_format("onnx", bundle.path)
    return evaluate(run, split, task(dataset), bundle.manifest.preprocessing)["class"]


def test_figures_of_a_case_worked_out_by_hand():
    found = evaluation(labels=[0, 0, 0, 0, 1, 1, 2, 2], predicted=[0, 0, 0, 1, 1, 0, 2, 1])
    assert found.accuracy == 5 / 8
    assert found.confusion.tolist() == [[3, 1, 0], [1, 1, 0], [0, 1, 1]]
    assert found.precision.tolist() == [3 / 4, 1 / 3, 1]
    assert found.recall.tolist() == [3 / 4, 1 / 2, 1 / 2]


def test_a_class_never_answered_or_never_asked_is_zero():
    found = evaluation(labels=[0, 0, 1], predicted=[0, 2, 0])
    assert found.precision.tolist() == [1 / 2, 0, 0]
    assert found.recall.tolist() == [1 / 2, 0, 0]


def test_the_answers_are_those_of_the_golden_samples(tmp_path):
    """The golden outputs of a test bundle are computed by NumPy."""
    bundle = make_bundle(tmp_path, golden=9, seed=5)
    (spec,) = bundle.manifest.preprocessing
    pictures = np.stack([decode(picture, spec) for picture in bundle.golden_images("image")])
    expected = bundle.golden_outputs()["probabilities"]
    labels = expected.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    found = evaluated(bundle, Split(pictures, labels))
    assert found.accuracy == 8 / 9
    assert found.predicted.tolist() == expected.argmax(axis=1).tolist()
    assert np.allclose(found.scores, expected.max(axis=1), atol=1e-5)


def test_pixels_go_through_the_bundles_preprocessing(tmp_path):
    """Pictures of another size than the model's are resized on the way, not refused."""
    bundle = make_bundle(tmp_path)
    (spec,) = bundle.manifest.preprocessing
    large = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), np.uint8)
    small = np.stack([decode(encode(picture), spec) for picture in large])
    labels = np.zeros(4, np.int64)
    from_large = evaluated(bundle, Split(large, labels))
    from_small = evaluated(bundle, Split(small, labels))
    assert from_large.scores.tolist() == from_small.scores.tolist()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 4)])
def test_encoding_keeps_the_pixels(tmp_path, channels, kind, tolerance):
    row = np.linspace(0, 255, 16).astype(np.uint8)
    pixels = np.broadcast_to(row[:, np.newaxis, np.newaxis], (16, 12, channels))
    file = tmp_path / "picture"
    file.write_bytes(encode(np.ascontiguousarray(pixels), kind))
    with Image.open(file) as image:
        assert image.format == kind
        found = np.asarray(image, np.int16).reshape(16, 12, channels)
    assert np.abs(found - pixels).max() <= tolerance
