"""`convoy batch` through the front door: the file, the last line, the exit codes, and a job that is stopped."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pyarrow.parquet
import pytest
from bundles import encode, make_bundle

import convoy


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository")
    make_bundle(repository)
    make_bundle(repository, "bad", corrupt_golden=True)
    return repository


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(5):
        (folder / f"{index}.png").write_bytes(encode(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
    (folder / "9.png").write_bytes(b"garbage")
    return folder


@pytest.fixture
def batch(capsys, repository, folder, tmp_path):
    """Runs the command, whose options are those of a good call unless given, and returns its exit code and output."""

    def run(**changes):
        options = {"model": repository / "tiny", "input": folder, "output": tmp_path / "out.parquet"} | changes
        arguments = [str(each) for name, value in options.items() for each in (f"--{name.replace('_', '-')}", value)]
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            convoy.main(["batch", *arguments])
        assert signal.getsignal(signal.SIGTERM) is before
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def test_a_folder_becomes_a_file_and_a_line(batch, tmp_path):
    code, out, _ = batch(batch_size=2, top_k=2)
    assert code == 0
    line, named = out.splitlines()
    assert line.startswith(f"{tmp_path}/out.parquet: 6 pictures, 1 with an error, ")
    assert line.endswith(" images/s")
    assert named.startswith(f"The one with an error: {tmp_path}/pictures/9.png: ")
    rows = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["error"] is None for row in rows] == [True] * 5 + [False]
    assert [len(row["class_top_labels"]) for row in rows[:5]] == [2] * 5


def test_of_several_pictures_with_an_error_the_first_is_named(batch, folder):
    (folder / os.fsdecode(b"8\xff.png")).write_bytes(b"garbage")
    _, out, _ = batch()
    assert "7 pictures, 2 with an error, " in out
    assert f"\nThe first one with an error: {folder}/8\\udcff.png: " in out


def test_a_run_in_which_no_picture_was_one_says_so_by_its_exit_code(batch, folder):
    only = folder / "only"
    only.mkdir()
    (only / "1.png").write_bytes(b"no picture")
    status, out, _ = batch(input=only)
    assert status == 1
    assert "1 picture, 1 with an error, " in out


def test_a_run_without_errors_does_not_speak_of_them(batch, folder):
    _, out, _ = batch(input=folder / "[0-4].png")
    assert ": 5 pictures, " in out
    assert "with an error" not in out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input": "absent"}, "there are no pictures in 'absent'"),
        ({"output": "absent/out.parquet"}, "output absent/out.parquet can't be written"),
        ({"model": "absent"}, "absent"),
        ({"top_k": 4}, "top_k is 4, it must be between 1 and the model's 3 classes"),
        ({"top_k": 0}, "top_k is 0"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"threads": -1}, "threads is -1"),
        ({"device": "gpu"}, "device 'gpu' is not known"),
        ({"device": "cuda"}, "onnxruntime-gpu"),
        ({"runtime": "tensorflow"}, "the bundle has fp32 (onnx)"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_work(batch, tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = batch(**changes)
    assert (code, out) == (2, "")
    assert err.startswith("convoy batch: ")
    assert said in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_model_that_does_not_hold_is_not_used(batch, repository):
    code, _, err = batch(model=repository / "bad")
    assert code == 2
    assert "does not reproduce its 4 golden samples" in err


def started(arguments, before="pass"):
    """The command in a process of its own, after the statement `before`."""
    program = f"import convoy; {before}; convoy.main({['batch', *map(str, arguments)]!r})"
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_job_that_breaks_is_one_sentence_and_leaves_nothing(repository, folder, tmp_path):
    """A limit on the size of files fails the write as a full disk does."""
    results = tmp_path / "results"
    results.mkdir()
    job = started(
        ["--model", repository / "tiny", "--input", folder, "--output", results / "out.parquet"],
        before="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))",
    )
    out, err = job.communicate()
    assert (job.returncode, out) == (1, "")
    assert f"convoy batch: output {results}/out.parquet can't be written: " in err
    assert "Traceback" not in err
    assert list(results.iterdir()) == []


def written(folder) -> int:
    """The bytes in a folder from which files come and go."""
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_job_leaves_nothing(repository, folder, tmp_path, number):
    many = tmp_path / "many"
    many.mkdir()
    for index in range(20_000):
        os.link(folder / "0.png", many / f"{index}.png")
    results = tmp_path / "results"
    results.mkdir()
    job = started(["--model", repository / "tiny", "--input", many, "--output", results / "out.parquet"])
    try:
        while job.poll() is None and not written(results):
            time.sleep(0.01)  # the job has begun when its hidden file has bytes
        job.send_signal(number)
        _, err = job.communicate()
    finally:
        job.kill()
    assert job.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert "Traceback" not in err
    assert list(results.iterdir()) == []
