"""The README's tables say what the code does. `.venv/bin/python tests/test_readme.py` writes them anew."""

import dataclasses
import re
import shlex
from itertools import chain
from pathlib import Path

import pytest
from prometheus_client import Metric

import convoy
from service.config import Settings, flag
from service.telemetry.metrics import Metrics, WorkersMetrics

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
READMES = [README, *sorted(ROOT.glob("[a-z]*/README.md")), *sorted(ROOT.glob("[a-z]*/[a-z]*/README.md"))]
OWN = "convoy_"


def settings_table() -> str:
    rows = ["| flag | default | what |", "|---|---|---|"]
    for knob in dataclasses.fields(Settings):
        default = "required" if knob.default is dataclasses.MISSING else f"`{knob.default}`"
        rows.append(f"| `{flag(knob.name)}` | {default} | {knob.metadata['doc']} |")
    return "\n".join(rows)


def metrics_table() -> str:
    rows = ["| metric | kind | what |", "|---|---|---|"]
    metrics: list[Metric] = sorted(
        [*Metrics().registry.collect(), *WorkersMetrics().registry.collect()], key=lambda metric: metric.name
    )
    for metric in metrics:
        if metric.name.startswith(OWN):
            suffix = {"counter": "_total", "info": "_info"}.get(metric.type, "")
            rows.append(f"| `{metric.name}{suffix}` | {metric.type} | {metric.documentation} |")
    return "\n".join(rows)


def section(name: str) -> str:
    match = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", README.read_text(), re.DOTALL)
    assert match, f"README.md has no section {name}"
    return match[1]


def test_the_settings_table_is_the_settings() -> None:
    assert section("settings") == settings_table()


def test_the_metrics_table_is_the_metrics() -> None:
    assert section("metrics") == metrics_table()


def test_every_command_is_in_the_table() -> None:
    told = re.findall(r"^\| `convoy (\w+)` \|", README.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(convoy.COMMANDS)


def test_the_table_says_what_each_command_needs() -> None:
    told = dict(
        re.findall(r"^\| `convoy (\w+)` \|.*\| (?:the base|`\.\[(\w+)\]`) \|$", README.read_text(), re.MULTILINE)
    )
    assert told == {name: command.extra or "" for name, command in convoy.COMMANDS.items()}


def commands(readme: Path) -> list[list[str]]:
    """The words of every line of a README's code that calls `convoy`."""
    blocks = re.findall(r"^```(?:bash|sh)?\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
    lines = chain.from_iterable(block.replace("\\\n", " ").splitlines() for block in blocks)
    return [shlex.split(line, comments=True) for line in lines if re.match(r"(\S*/)?convoy ", line)]


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: str(readme.relative_to(ROOT)))
def test_every_command_that_a_readme_shows_is_one_in_the_activated_environment(readme: Path) -> None:
    for program, name, *words in commands(readme):
        assert program == "convoy"
        known = {flag for option in convoy._load(name).params for flag in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, f"{readme}: convoy {name}"


def test_the_readmes_show_commands() -> None:
    assert len(commands(README)) > 10
    assert {name for _, name, *_ in chain.from_iterable(map(commands, READMES))} >= {"train", "batch", "serve"}


def regenerate() -> None:
    text = README.read_text()
    for name, table in {"settings": settings_table(), "metrics": metrics_table()}.items():
        text = re.sub(
            rf"<!-- {name} -->\n.*?<!-- /{name} -->",
            f"<!-- {name} -->\n{table}\n<!-- /{name} -->",
            text,
            flags=re.DOTALL,
        )
    README.write_text(text)


if __name__ == "__main__":
    regenerate()
