"""A whole batch job on real files: its rows, its metadata, and that the output is whole or absent."""

import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
from bundles import encode, make_bundle

from bundle.preprocessing import Limits
from service.errors import SettingsError
from service.jobs.batch import run_batch
from service.jobs.output import OutputFailed, Rows, check_writable, schema, whole_file
from service.jobs.predictor import Failure, HeadPrediction, Prediction, Predictor
from service.jobs.sources import find_pictures


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    bundle = make_bundle(tmp_path_factory.mktemp("repository"))
    with Predictor(bundle.path, batch_size=4, top_k=2, limits=Limits(max_bytes=5_000)) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path):
    """Nine good pictures among five that can't be used."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(9):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (folder / f"{index}.png").write_bytes(encode(pixels))
    (folder / "0-empty.png").touch()
    (folder / "3-garbage.jpg").write_bytes(b"garbage")
    (folder / "5-large.png").write_bytes(bytes(6_000))
    (folder / "6-lost.png").symlink_to("nowhere")
    (folder / "7-cut.png").write_bytes((folder / "7.png").read_bytes()[:-30])
    return folder


def left_over(folder):
    return [path.name for path in folder.iterdir() if ".partial" in path.name]


def test_every_picture_is_a_row_in_order_and_a_bad_one_has_its_error(predictor, folder, tmp_path):
    pictures, output = find_pictures(str(folder)), tmp_path / "out.parquet"
    summary = run_batch(predictor, pictures, output)
    rows = pyarrow.parquet.read_table(output).to_pylist()
    assert (summary.pictures, summary.failed, summary.output) == (14, 5, output)
    assert summary.images_per_second == pytest.approx(14 / summary.seconds)
    assert [row["path"] for row in rows] == [str(path) for path in pictures]
    errors = {row["path"].rsplit("/", 1)[1]: row["error"] for row in rows if row["error"] is not None}
    assert sorted(errors) == ["0-empty.png", "3-garbage.jpg", "5-large.png", "6-lost.png", "7-cut.png"]
    assert errors["5-large.png"] == "the file has 6,000 bytes, over the limit of 5,000; make it smaller"
    assert errors["6-lost.png"] == "the file can't be read: No such file or directory"
    assert left_over(tmp_path) == []


def test_a_row_says_what_the_predictor_says(predictor, folder, tmp_path):
    pictures = find_pictures(f"{folder}/[0-9].png")
    run_batch(predictor, pictures, tmp_path / "out.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    answers = predictor([path.read_bytes() for path in pictures])
    for row, answer in zip(rows, answers, strict=True):
        head = answer.heads["class"]
        assert row["error"] is None
        assert (row["class_label"], row["class_index"]) == (head.labels[0], head.indices[0])
        assert row["class_score"] == pytest.approx(head.scores[0])
        assert (row["class_top_labels"], row["class_top_indices"]) == (list(head.labels), list(head.indices))
        assert row["class_top_scores"] == pytest.approx(list(head.scores))
        assert row["class_abstained"] is False
        assert len(head.labels) == 2


def test_rows_of_which_the_model_is_unsure_say_so(folder, tmp_path):
    bundle = make_bundle(tmp_path / "repository", abstain_below=0.8)
    with Predictor(bundle.path, batch_size=4) as unsure:
        run_batch(unsure, find_pictures(str(folder)), tmp_path / "out.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    told = [row["class_abstained"] for row in rows]
    assert told == [None if row["error"] else row["class_score"] < 0.8 for row in rows]
    assert {True, False, None} == set(told)


def test_the_file_says_where_its_rows_come_from(predictor, folder, tmp_path):
    run_batch(predictor, find_pictures(str(folder)), tmp_path / "out.parquet")
    metadata = pyarrow.parquet.read_schema(tmp_path / "out.parquet").metadata
    assert (metadata[b"convoy.model"], metadata[b"convoy.version"]) == (b"tiny", b"1")
    assert metadata[b"convoy.runtime"] == str(predictor.info).encode()


def test_progress_ends_at_the_number_of_pictures(predictor, folder, tmp_path):
    told = []
    pictures = find_pictures(str(folder)) * 10
    run_batch(predictor, pictures, tmp_path / "out.parquet", on_progress=told.append)
    assert told == [64, 128, 140]


def test_an_earlier_output_is_replaced(predictor, folder, tmp_path):
    (tmp_path / "out.parquet").write_text("earlier")
    run_batch(predictor, find_pictures(str(folder)), tmp_path / "out.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").num_rows == 14


def test_a_job_that_breaks_leaves_nothing_and_keeps_the_earlier_output(predictor, folder, tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    (tmp_path / "out.parquet").write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        run_batch(predictor, find_pictures(str(folder)), tmp_path / "out.parquet", on_progress=stop)
    assert left_over(tmp_path) == []
    assert (tmp_path / "out.parquet").read_text() == "earlier"


def test_the_output_is_as_readable_as_any_new_file(predictor, folder, tmp_path):
    run_batch(predictor, find_pictures(str(folder)), tmp_path / "out.parquet")
    (tmp_path / "other").touch()
    assert (tmp_path / "out.parquet").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_many_rows_are_written_in_groups(tmp_path):
    answer = Prediction({"class": HeadPrediction(("red",), (0,), (0.5,))})
    with Rows(tmp_path / "rows.parquet", schema(["class"], {})) as rows:
        for index in range(40_000):
            rows.add(tmp_path / str(index), answer if index % 2 else Failure("bad"))
    file = pyarrow.parquet.ParquetFile(tmp_path / "rows.parquet")
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (40_000, 3)
    assert file.read(["error"]).column("error").null_count == 20_000


def test_a_name_that_is_not_utf8_is_a_row_too(predictor, folder, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).write_bytes((folder / "1.png").read_bytes())
    run_batch(predictor, [folder / name], tmp_path / "out.parquet")
    (row,) = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert row["path"] == f"{folder}/caf\N{REPLACEMENT CHARACTER}.png"
    assert row["error"] is None


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    """In a process whose files may not grow, which fails a write as a full disk does."""
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from service.jobs.output import OutputFailed, Rows, schema, whole_file\n"
        "from service.jobs.predictor import Failure\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))\n"
        "try:\n"
        "    with whole_file(Path(sys.argv[1])) as path, Rows(path, schema([], {})) as rows:\n"
        "        for index in range(1_000): rows.add(Path(str(index)), Failure(str(index * 7919)))\n"
        "except OutputFailed as error: print(error)\n"
    )
    command = [sys.executable, "-c", program, tmp_path / "out.parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"output {tmp_path}/out.parquet can't be written: ")
    assert done.stdout.endswith("nothing of it is left\n")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_is_told(tmp_path):
    (tmp_path / "out.parquet" / "full").mkdir(parents=True)
    with (
        pytest.raises(OutputFailed, match=r"out\.parquet can't be written"),
        whole_file(tmp_path / "out.parquet") as path,
    ):
        path.touch()
    assert left_over(tmp_path) == []


def test_a_writable_output_is_left_as_it_was(tmp_path):
    check_writable(tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "said"), [("absent/out.parquet", "No such file"), (".", "is a folder"), ("file/out", "Not a directory")]
)
def test_an_output_that_can_not_be_written_is_found_early(tmp_path, output, said):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=said):
        check_writable(tmp_path / output)
