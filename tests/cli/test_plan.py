"""`convoy plan` through the front door, with real measurements of a tiny model."""

import json
from dataclasses import replace

import pytest
from bundles import make_bundle

import convoy
from service.cli import plan as plan_command
from service.models.planning.plan import Choice, Measured, Plan


@pytest.fixture
def plan(capsys, tmp_path):
    """Runs the command and returns its exit code and output."""

    def run(*arguments):
        usual = ["--device", "cpu", "--profile-seconds", "10", "--state", tmp_path / "state", "--runtime", "onnx"]
        with pytest.raises(SystemExit) as ended:
            convoy.main(["plan", *map(str, [*usual, *arguments])])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def kept(tmp_path):
    """The plans that were kept."""
    return lambda: [json.loads(file.read_bytes())["choice"]["plan"] for file in (tmp_path / "state").rglob("*.json")]


def test_the_table_the_plan_and_the_reason_are_shown_and_the_plan_is_kept(plan, kept, repository):
    code, out, err = plan(repository, "--threads", 1, "--instances", 1)
    assert (code, err) == (0, "")
    assert "images/s" in out
    assert "Plan: onnx fp32, 1 x 1 thread, batches to " in out
    assert "Why: measured " in out
    [one] = kept()
    assert (one["threads"], one["instances"]) == (1, 1)


def test_the_headings_fit_into_a_terminal_of_80_columns(plan, tmp_path, monkeypatch):
    make_bundle(tmp_path / "repository")
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = plan(tmp_path / "repository", "--threads", 1, "--instances", 1)
    headings = next(line for line in out.splitlines() if "engine" in line)
    assert headings.split() == [
        *("engine", "variant", "computed", "threads", "instances", "batch", "images/s", "p99", "ms")
    ]


def test_a_long_variant_is_folded_and_nothing_is_cut(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    variant = "a_variant_with_a_name_of_40_characters__"
    row = Measured(Plan("tensorflow", variant, "exact", 32, 16, 128), 1.23456, 123456.0)
    plan_command._print(Choice(row.plan, "measured", (row,)))
    table = capsys.readouterr().out.partition("Plan:")[0]
    assert "…" not in table
    assert all(len(line) <= 80 for line in table.splitlines())
    assert {"tensorflow", "computed", "instances", "images/s", "123456", "2469.12"} <= set(table.split())


def test_what_is_not_in_the_table_is_told_with_why(capsys):
    one, two = Plan("onnx", "fp32", "exact", 1, 1, 2), Plan("onnx", "fp32", "exact", 1, 2, 2)
    late, over = "its share of the time was over, at batches of 2", "the latency target was passed, at batches of 2"
    table = (
        *(Measured(replace(two, max_batch_size=size), refused=late) for size in (8, 4)),
        Measured(replace(one, max_batch_size=4), refused=over),
        Measured(one, 0.001, 2000.0),
        Measured(Plan("openvino", "fp32", "bf16", 2, 1, 0), refused="there was no time left to measure it"),
    )
    plan_command._print(Choice(one, "measured", table))
    assert capsys.readouterr().out.partition("Why: measured\n")[2].splitlines() == [
        f"Not in the table: onnx fp32 exact, 1 thread, 2 instances, batches of 4, 8: {late}",
        f"Not in the table: onnx fp32 exact, 1 thread, 1 instance, batches of 4: {over}",
        "Not in the table: openvino fp32 bf16, 2 threads: there was no time left to measure it",
    ]


def test_json_has_the_table(plan, kept, repository):
    code, out, _ = plan(repository, "--threads", 1, "--max-batch-size", 4, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["plan"] in [row["plan"] for row in told["table"]]
    assert told["plan"] == kept()[0]
    assert all(row["images_per_second"] > 0 and row["p99_ms"] > 0 for row in told["table"])


def test_where_all_is_pinned_nothing_is_measured(plan, kept, repository):
    code, out, _ = plan(repository, "--threads", 1, "--instances", 1, "--max-batch-size", 4)
    assert code == 0
    assert "images/s" not in out
    assert "Why: pinned, nothing was left to measure" in out
    assert not kept()


def test_a_version_that_does_not_reproduce_its_golden_samples_is_told(plan, tmp_path):
    make_bundle(tmp_path / "repository", corrupt_golden=True)
    code, _, err = plan(tmp_path / "repository")
    assert code == 1
    assert "does not reproduce its 4 golden samples" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(["--threads", -1], "--threads is -1"), (["--device", "tpu"], "device 'tpu'")]
)
def test_a_mistake_ends_with_its_sentence(plan, repository, arguments, sentence):
    code, _, err = plan(repository, *arguments)
    assert code == 2
    assert sentence in err


def test_a_folder_without_a_version_is_a_mistake(plan, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = plan(tmp_path / "empty")
    assert code == 2
    assert str(tmp_path / "empty") in err
