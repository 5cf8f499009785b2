"""The README's tables say what the code does. `.venv/bin/python tests/test_readme.py` writes them anew."""

import dataclasses
import re
from pathlib import Path

from prometheus_client import Metric

import convoy
from service.config import Settings, flag
from service.telemetry.metrics import Metrics, WorkersMetrics

README = Path(__file__).parent.parent / "README.md"
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
