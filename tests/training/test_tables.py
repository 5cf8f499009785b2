"""CSV and Parquet tables of paths and labels."""

import csv

import photos
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.datasets import FileOptions, load
from training.errors import DatasetCorrupt, DatasetUnavailable

COLUMNS = ("path", "label", "split")
OPTIONS = FileOptions(height=8, width=8)


@pytest.fixture
def rows(tmp_path):
    """Of two kinds, in three splits, one of them left to the hash; one file is missing."""
    found = []
    for number in range(80):
        photos.noise(tmp_path / "pictures" / f"{number}.png", number)
        split = {0: "test", 1: "val", 2: "train"}.get(number % 4, "")
        found.append((f"pictures/{number}.png", "even" if number % 2 else "odd", split))
    return [*found, ("pictures/missing.png", "odd", "train")]


def write_csv(path, rows, columns=COLUMNS):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_parquet(path, rows, columns=COLUMNS):
    values = zip(*rows, strict=True)
    pq.write_table(pa.table({name: list(column) for name, column in zip(columns, values, strict=True)}), path)


WRITERS = {"csv": write_csv, "parquet": write_parquet}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_table_says_paths_labels_and_splits(tmp_path, rows, kind):
    path = tmp_path / f"table.{kind}"
    WRITERS[kind](path, rows)
    said = []
    dataset = load("files", path, options=OPTIONS, cache=tmp_path / "cache", say=said.append)
    wanted = {row[0]: row for row in rows}
    for split, name in ((dataset.train, "train"), (dataset.validation, "val"), (dataset.test, "test")):
        for file, label in zip(split.files, split.labels, strict=True):
            row = wanted[str(file.relative_to(tmp_path))]
            assert dataset.class_names[label] == row[1]
            assert row[2] in {name, ""} if name == "train" else row[2] == name
    assert [len(split) for split in (dataset.validation, dataset.test)] == [20, 20]
    assert f"skipped {tmp_path}/pictures/missing.png: No such file or directory" in said


def test_both_kinds_are_the_same_data(tmp_path, rows):
    digests = set()
    for kind, write in WRITERS.items():
        write(tmp_path / f"table.{kind}", rows)
        digests.add(load("files", tmp_path / f"table.{kind}", options=OPTIONS, cache=tmp_path / "cache").digest)
    assert len(digests) == 1


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("columns", "row", "sentence"),
    [
        (("path", "class"), ("a.png", "x"), r"has no column 'label'; it needs 'path' and 'label', and has"),
        (("path", "label"), ("", "x"), r"row 1 of .* has no path"),
        (("path", "label"), ("a.png", " "), r"row 1 of .* has no label"),
        (COLUMNS, ("a.png", "x", "dev"), r"row 1 of .* has the split 'dev'; use train, validation or test"),
    ],
)
def test_a_wrong_table_is_told_where(tmp_path, kind, columns, row, sentence):
    path = tmp_path / f"table.{kind}"
    WRITERS[kind](path, [row], columns)
    with pytest.raises(DatasetCorrupt, match=sentence):
        load("files", path, options=OPTIONS, cache=tmp_path)


@pytest.mark.parametrize(("name", "content"), [("a.csv", b"path,label\n\xff,a\n"), ("a.parquet", b"nothing")])
def test_a_file_of_another_kind_is_said(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetCorrupt, match=r"is not (CSV in UTF-8|a Parquet file)"):
        load("files", tmp_path / name, options=OPTIONS, cache=tmp_path)


def test_a_table_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DatasetUnavailable, match="can't be read as pictures with labels: there is no such"):
        load("files", tmp_path / "table.csv", options=OPTIONS, cache=tmp_path)
