"""`convoy verify` through the front door: exit codes and what is printed."""

import sys

import msgspec
import pytest
from bundles import make_bundle

import convoy
from bundle.manifest import Variant
from bundle.publishing import publish, staging


@pytest.fixture
def verify(capsys):
    """Runs the command and returns its exit code and output."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            convoy.main(["verify", *map(str, arguments)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


def rows(out):
    """The words of the table's rows by version and variant."""
    words = (line.split() for line in out.splitlines())
    return {tuple(line[:2]): line[2:] for line in words if line and "/" in line[0] and not line[1].endswith(":")}


def with_saved_model(repository):
    """A version that also declares a SavedModel, which is not one."""
    tiny = make_bundle(repository, "tiny")
    with staging(repository, "both") as staged:
        for name in tiny.manifest.files:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes((tiny.path / name).read_bytes())
        (staged / "saved_model.pb").write_bytes(b"nothing")
        variants = (*tiny.manifest.variants, Variant(name="keras", format="saved_model", path="."))
        return publish(staged, msgspec.structs.replace(tiny.manifest, variants=variants), repository, "both")


def test_a_repository_that_holds_passes(verify, tmp_path):
    for name in ("tiny", "tiny", "other"):
        make_bundle(tmp_path, name)
    code, out, err = verify(tmp_path)
    assert (code, err) == (0, "")
    assert [version for version, _ in rows(out)] == ["other/1", "tiny/1", "tiny/2"]
    for words in rows(out).values():
        assert words[0] == "cpu"
        assert words[-2:] == ["100.0%", "ok"]


@pytest.mark.parametrize(("below", "versions"), [("tiny", ["tiny/1", "tiny/2"]), ("tiny/2", ["tiny/2"])])
def test_a_model_means_its_versions_and_a_version_itself(verify, tmp_path, below, versions):
    for name in ("tiny", "tiny", "other"):
        make_bundle(tmp_path, name)
    code, out, _ = verify(tmp_path / below)
    assert code == 0
    assert [version for version, _ in rows(out)] == versions


def test_a_relative_path_is_named_like_any_other(verify, tmp_path, monkeypatch):
    monkeypatch.chdir(make_bundle(tmp_path).path)
    assert list(rows(verify(".")[1])) == [("tiny/1", "fp32")]


def test_other_outputs_than_keras_gave_fail_with_the_difference(verify, tmp_path):
    make_bundle(tmp_path, "good")
    make_bundle(tmp_path, "bad", corrupt_golden=True)
    code, out, _ = verify(tmp_path)
    assert code == 1
    assert rows(out)["bad/1", "fp32"][-1] == "FAILED"
    assert rows(out)["good/1", "fp32"][-1] == "ok"
    assert "bad/1 fp32: variant 'fp32' does not reproduce its 4 golden samples" in out


def test_a_changed_file_fails_and_is_named(verify, tmp_path):
    path = make_bundle(tmp_path).path
    (path / "model.onnx").write_bytes((path / "model.onnx").read_bytes() + b"x")
    code, out, _ = verify(tmp_path)
    assert code == 1
    assert rows(out)["tiny/1", "files"] == ["FAILED"]
    assert "model.onnx" in out


def test_a_format_that_can_not_run_here_is_said_and_is_no_failure(verify, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as Python marks a module that can't be imported
    code, out, _ = verify(with_saved_model(tmp_path).path)
    assert code == 0
    assert rows(out)["both/1", "fp32"][-1] == "ok"
    assert rows(out)["both/1", "keras"] == ["skipped"]
    assert "both/1 keras: not checked: TensorFlow is not installed" in out
    assert ".[tensorflow]" in out


def test_a_version_of_which_nothing_could_run_is_not_vouched_for(verify, tmp_path):
    make_bundle(tmp_path)
    code, out, _ = verify(tmp_path, "--device", "cuda")
    assert code == 1
    assert "tiny/1 fp32: not checked: device cuda:0 was asked for" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent"], "absent"),
        (["empty"], "nothing is published here"),
        (["empty", "--device", "gpu"], "nothing is published here"),
        (["repository", "--device", "gpu"], "device 'gpu' is not known"),
    ],
)
def test_a_mistake_is_one_sentence(verify, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    make_bundle(tmp_path / "repository")
    code, out, err = verify(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("convoy verify: ")
    assert said in err
    assert err.count("\n") == 1
