"""What a run leaves: complete, equal when it is read again, and loadable."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest
import shapes

from bundle.errors import BundleInvalid
from training.asking import predict
from training.report.record import FOLDER as REPORT
from training.report.record import MODEL, Record, read_record, write_record


@pytest.fixture(scope="session")
def record(published):
    return read_record(published.path)


def test_every_answer_is_kept_three_times_the_same(published, record, dataset):
    report = published.path / REPORT
    answers = record.evaluations["class"]
    with (report / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["truth"] for row in rows] == [shapes.NAMES[label] for label in answers.labels]
    assert [row["predicted"] for row in rows] == [shapes.NAMES[label] for label in answers.predicted]
    assert np.array_equal(answers.labels, dataset.test.labels)
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics == record.metrics
    assert metrics["confusion"] == answers.confusion.tolist()
    assert [one["f1"] for one in metrics["classes"]] == answers.f1.tolist()


def test_f1_is_the_harmonic_mean(record):
    answers = record.evaluations["class"]
    both = answers.precision + answers.recall
    assert np.allclose(answers.f1 * both, 2 * answers.precision * answers.recall)


def test_the_examples_are_of_each_class_in_turn_as_the_model_gets_them(record, dataset):
    chosen = record.examples
    assert dataset.test.labels[chosen.rows].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert len(np.unique(chosen.rows)) == 8
    assert np.array_equal(chosen.pictures["image"], dataset.test.images[chosen.rows])


def test_the_mistakes_are_mistakes_the_surest_first(record):
    answers, chosen = record.evaluations["class"], record.mistakes["class"]
    assert (answers.labels[chosen.rows] != answers.predicted[chosen.rows]).all()
    assert (np.diff(answers.scores[chosen.rows]) <= 0).all()
    wrong = answers.labels != answers.predicted
    assert len(chosen.rows) == min(wrong.sum(), 16)


def test_the_embedding_is_of_every_test_picture_here(record, dataset):
    assert record.embedding.points.shape == (len(dataset.test), 4)
    assert np.array_equal(record.embedding.classes, dataset.test.labels)


def test_the_kept_model_gives_the_golden_answers_and_no_state_of_training(published):
    model = keras.saving.load_model(published.path / REPORT / MODEL)
    assert (published.path / REPORT / MODEL).stat().st_size < 2 * 4 * model.count_params() + 50_000
    record = read_record(published.path)
    found = predict(model, record.examples.pictures)["probabilities"]
    answers = record.evaluations["class"]
    assert found.argmax(axis=1).tolist() == answers.predicted[record.examples.rows].tolist()
    assert np.allclose(found.max(axis=1), answers.scores[record.examples.rows], atol=1e-4)


def test_speed_is_told_with_the_machines_name(published, record):
    speed = record.metrics["speed"]
    assert "cores" in speed["machine"]
    assert {(one["variant"], one["batch_size"]) for one in speed["runs"]} == {
        (variant.name, size) for variant in published.manifest.variants for size in (1, 16)
    }
    assert all(one["images_per_second"] > 0 for one in speed["runs"])


def test_a_version_without_a_record_has_an_empty_one(tmp_path):
    found = read_record(tmp_path)
    assert all(not getattr(found, one.name) for one in dataclasses.fields(found))


def test_a_record_is_the_same_when_it_is_read_again(tmp_path, published, record):
    write_record(tmp_path, record, {"class": shapes.NAMES}, None)
    again = read_record(tmp_path)
    assert again.metrics == record.metrics
    assert np.array_equal(again.evaluations["class"].scores, record.evaluations["class"].scores)
    assert np.array_equal(again.mistakes["class"].rows, record.mistakes["class"].rows)
    assert (tmp_path / REPORT / "predictions.csv").read_bytes() == (
        published.path / REPORT / "predictions.csv"
    ).read_bytes()
    assert not (tmp_path / REPORT / MODEL).exists()


def test_rows_of_numbers_are_lines_and_names_stay_as_they_are(tmp_path):
    metrics = {"confusion": [[1, 0], [0, 2]], "label": "a [1,  2]", "none": [], "history": {"loss": [0.5, 1e-9]}}
    write_record(tmp_path, Record(metrics), {}, None)
    assert read_record(tmp_path).metrics == metrics
    assert "[1, 0]" in (tmp_path / REPORT / "metrics.json").read_text().splitlines()[2]


@pytest.mark.parametrize("file", ["metrics.json", "record.npz"])
def test_a_damaged_record_is_said_to_be_one(tmp_path, record, file):
    write_record(tmp_path, record, {"class": shapes.NAMES}, None)
    content = (tmp_path / REPORT / file).read_bytes()
    (tmp_path / REPORT / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleInvalid, match="can't be read"):
        read_record(tmp_path)
