"""`convoy classify` and `convoy models` against the canned server: what they print, and their exit codes."""

import io
import json
import sys

import pytest
from canned import MEBIBYTE, READY, UNAVAILABLE

import convoy
import service.cli
from protos.classifier.v1 import classifier_pb2 as pb


@pytest.fixture
def run(capsys, monkeypatch, server):
    """Runs `convoy` against the canned server: exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, stdin=b"", address=server.address):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as exited:
            convoy.main([*map(str, arguments), "--server", address])
        out, err = capsys.readouterr()
        return exited.value.code, out, err

    return run


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "bad.gif", "notes.txt", "._a.JPG"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_a_table_of_pictures_classes_and_scores(run, folder):
    code, out, err = run("classify", folder / "a.JPG", folder / "b.png", "--model", "flowers")
    rows = [line.split("│") for line in out.splitlines() if "png" in line or "JPG" in line]
    assert [[cell.strip() for cell in row[1:-1]] for row in rows] == [
        [str(folder / "a.JPG"), "a.JPG", "0.500", "other 1 0.250, other 2 0.125"],
        [str(folder / "b.png"), "b.png", "0.500", "other 1 0.250, other 2 0.125"],
    ]
    assert "2 of 2 classified by flowers version 3" in out
    assert (code, err) == (0, "")


def test_a_folder_is_its_pictures_by_name_and_a_rejected_one_is_exit_code_1(run, folder):
    code, out, _ = run("classify", folder, "--model", "flowers")
    rows = [line for line in out.splitlines() if str(folder) in line]
    assert ["a.JPG" in rows[0], "b.png" in rows[1], "not an image: bad.gif" in rows[2]] == [True] * 3
    assert "notes" not in out
    assert "2 of 3 classified" in out
    assert code == 1


def test_json_has_one_object_a_line(run, folder):
    code, out, _ = run("classify", folder, "--model", "flowers", "--top-k", 1, "--json")
    first, second, third = map(json.loads, out.splitlines())
    assert first == {
        "picture": str(folder / "a.JPG"),
        "heads": {"class": [{"label": "a.JPG", "index": 0, "score": 0.5}]},
        "model": "flowers",
        "version": 3,
        "timing": {"preprocess": 0.0015, "queue": 0.00025, "compute": 2.0},
        "abstained": [],
    }
    assert second["picture"] == str(folder / "b.png")
    assert third == {
        "picture": str(folder / "bad.gif"),
        "error": {"code": "INVALID_ARGUMENT", "message": "not an image: bad.gif"},
    }
    assert code == 1


def test_a_picture_from_standard_input(run, canned):
    code, out, _ = run("classify", "-", "--model", "flowers", "--json", stdin=b"from a pipe")
    assert json.loads(out)["heads"]["class"][0]["label"] == "from a pipe"
    assert code == 0


def test_without_pillow_a_drawing_says_what_to_install(run, canned, folder, monkeypatch):
    monkeypatch.delattr(service.cli, "drawing", raising=False)
    monkeypatch.delitem(sys.modules, "service.cli.drawing", raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    code, out, err = run("classify", folder / "b.png", "--model", "flowers", "--explain", folder / "out.png")
    assert (code, out) == (2, "")
    assert err == "convoy classify: --explain draws with Pillow, which is not installed: pip install pillow\n"
    assert canned.requests == []


def test_a_server_that_does_not_know_explain_is_not_drawn(run, canned, folder):
    canned.explains = False
    code, _, err = run("classify", folder / "b.png", "--model", "flowers", "--explain", folder / "out.png")
    assert code == 2
    assert "model 'flowers' came without activation maps: its server is too old" in err
    assert not (folder / "out.png").exists()


def test_a_rejected_picture_is_not_drawn(run, folder):
    code, out, _ = run("classify", folder / "bad.gif", "--model", "flowers", "--explain", folder / "out.png")
    assert (code, "not an image" in out, (folder / "out.png").exists()) == (1, True, False)


def test_the_options_reach_the_server(run, canned, folder):
    run("classify", folder / "b.png", "--model", "flowers", "--version", 2, "--top-k", 3)
    run("classify", folder / "b.png", "--model", "flowers", "--version-label", "stable")
    first, second = canned.requests
    assert (first.model.version, first.top_k) == (2, 3)
    assert (second.model.version_label, second.HasField("top_k")) == ("stable", False)


def test_several_heads_are_named(run, canned, folder):
    canned.heads = ("species", "colour")
    _, out, _ = run("classify", folder / "b.png", "--model", "flowers")
    assert "species: b.png" in out
    assert "colour: b.png" in out


def test_what_the_model_is_unsure_of_is_said(run, canned, folder):
    canned.heads, canned.abstained = ("species", "colour"), ("colour",)
    _, out, _ = run("classify", folder / "b.png", "--model", "flowers")
    assert "colour: b.png (unsure)" in out
    assert "species: b.png (unsure)" not in out
    _, out, _ = run("classify", folder / "b.png", "--model", "flowers", "--json")
    assert json.loads(out)["abstained"] == ["colour"]


def test_brackets_in_a_label_are_not_markup(run, canned, tmp_path):
    path = tmp_path / "[red]x[red].png"
    path.write_bytes(b"[bold]label[/bold]")
    _, out, _ = run("classify", path, "--model", "flowers")
    assert "[red]x[red].png" in out
    assert "[bold]label[/bold]" in out


def test_the_only_model_needs_no_name(run, canned, folder):
    code, _, _ = run("classify", folder / "b.png")
    assert (code, canned.requests[0].model.name) == (0, "flowers")


@pytest.mark.parametrize(
    ("names", "words"),
    [((), "has no model yet"), (("cats", "dogs"), "has the models cats, dogs: choose one with --model")],
)
def test_without_one_model_a_name_is_asked_for(run, canned, folder, names, words):
    canned.models = [pb.ModelSummary(name=name) for name in names]
    code, out, err = run("classify", folder / "b.png")
    assert (code, out) == (2, "")
    assert words in err


def mistakes(folder):
    (folder / "empty").mkdir()
    return {
        "missing": ([folder / "missing.png"], "missing.png: No such file or directory"),
        "no pictures": ([folder / "empty"], "empty': no file below it ends in .jpg, .jpeg"),
        "standard input twice": (["-", "-"], "can be given only once"),
        "two versions": ([folder / "b.png", "--version", 1, "--version-label", "x"], "exclude each other"),
        "no time": ([folder / "b.png", "--timeout", 0], "timeout is 0.0 seconds"),
        "two drawings": ([folder / "b.png", folder / "a.JPG", "--explain", "x.png"], "draws one picture, and 2 were"),
        "no drawing": ([folder / "b.png", "--explain", "x.txt"], "x.txt must end in one of .png, .jpg"),
    }


@pytest.mark.parametrize(
    "mistake",
    ["missing", "no pictures", "standard input twice", "two versions", "no time", "two drawings", "no drawing"],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run, canned, folder, mistake):
    arguments, words = mistakes(folder)[mistake]
    code, out, err = run("classify", *arguments, "--model", "flowers")
    assert (code, out) == (2, "")
    assert err.startswith("convoy classify: ")
    assert words in err
    assert err.count("\n") == 1
    assert canned.requests == []


@pytest.mark.parametrize("command", [["classify", __file__], ["models"]])
def test_a_server_that_is_not_there_is_one_sentence_and_exit_code_2(run, nobody, command):
    code, out, err = run(*command, address=nobody)
    assert (code, out) == (2, "")
    assert err.startswith(f"convoy {command[0]}: server {nobody}: can't be reached: nothing listens there")
    assert err.count("\n") == 1


@pytest.mark.parametrize("style", [["--json"], []])
def test_what_was_answered_before_a_failure_is_still_shown(run, canned, tmp_path, style):
    for n in range(2):
        (tmp_path / f"{n}.png").write_bytes(f"picture {n} ".encode().ljust(3 * MEBIBYTE))
    canned.fails_on = "picture 1"
    code, out, err = run("classify", tmp_path, "--model", "flowers", *style)
    assert code == 2
    assert "picture 0" in out
    assert "broken" in err


def test_the_models_as_a_table(run, canned):
    broken = pb.VersionStatus(version=4, state=UNAVAILABLE, reason="digest differs")
    ready = pb.VersionStatus(version=3, state=READY, version_labels=["stable", "eu"])
    canned.models = [pb.ModelSummary(name="flowers", versions=[ready, broken]), pb.ModelSummary(name="empty")]
    code, out, _ = run("models")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert rows == [
        ["flowers", "3", "READY", "stable, eu", ""],
        ["flowers", "4", "UNAVAILABLE", "", "digest differs"],
        ["empty", "", "no version", "", ""],
    ]
    assert code == 0


def test_no_models_are_said_so(run, canned):
    canned.models = []
    assert run("models")[:2] == (0, "The server has no model yet.\n")
    assert run("models", "--json")[:2] == (0, "")


def test_the_models_as_json(run):
    _, out, _ = run("models", "--json")
    version = {"version": 3, "state": "READY", "reason": "", "labels": []}
    assert json.loads(out) == {"name": "flowers", "versions": [version], "problem": ""}


def test_one_model_in_full(run):
    code, out, _ = run("models", "flowers", "--version", 2)
    for line in (
        "flowers version 2",
        "onnxruntime fp32 on cpu, 2 threads",
        "onnx fp32 exact, 1 x 2 threads, batches to 8: measured",
        "image: uint8 [any, 28, 28, 1]",
        "probabilities: float32 [any, 2]",
        "image: 28 x 28 pixels, 1 channel, resize stretch, bilinear",
        "class: softmax of probabilities, unsure below 0.900, 2 classes: rose, tulip",
        "; explains itself by activation maps",
        "accuracy 0.91",
        "READY",
    ):
        assert line in out
    assert code == 0
    assert json.loads(run("models", "flowers", "--json")[1])["heads"][0]["labels"] == ["rose", "tulip"]


def test_a_model_that_is_not_ready_is_shown_with_its_states(run, canned):
    canned.models[0].versions[0].state = UNAVAILABLE
    code, out, _ = run("models", "flowers")
    assert "flowers, of which no version is READY" in out
    assert "UNAVAILABLE" in out
    assert code == 0


def test_an_unknown_model_is_exit_code_2(run):
    code, out, err = run("models", "trees")
    assert (code, out) == (2, "")
    assert "'trees' is not in the repository" in err
    assert run("models", "--version", 3)[::2] == (2, "convoy models: --version needs the name of a model\n")


def test_what_is_wrong_with_a_model_stands_below_the_table(run, canned):
    canned.models[0].problem = "convoy.toml is not TOML"
    assert run("models")[1].splitlines()[-1] == "flowers: convoy.toml is not TOML"


def test_a_label_is_set_moved_and_removed(run):
    assert run("label", "flowers", "stable", 3) == (0, "flowers stable is 3; it was not there\n", "")
    assert run("label", "flowers", "stable", 4) == (0, "flowers stable is 4; it was 3\n", "")
    assert run("label", "flowers", "stable", "--delete") == (0, "flowers stable is removed; it was 4\n", "")


@pytest.mark.parametrize("arguments", [["stable"], ["stable", 3, "--delete"]])
def test_a_label_needs_a_version_or_to_be_deleted(run, canned, arguments):
    sentence = "convoy label: give either the VERSION that the label is to point to, or --delete\n"
    assert run("label", "flowers", *arguments) == (2, "", sentence)
    assert canned.admin.labels == {}


def test_a_label_that_is_refused_is_one_sentence_and_exit_code_2(run, canned, server):
    canned.admin.allowed = False
    sentence = f"convoy label: server {server.address}: access denied: started without --allow-admin\n"
    assert run("label", "flowers", "stable", 3) == (2, "", sentence)
