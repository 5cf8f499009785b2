"""How `convoy serve` comes to its settings: flag, then variable, then file, then default; mistakes in one sentence.

What the command does with them is in `tests/integration`.
"""

import dataclasses
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from service.cli.options import with_settings
from service.cli.serve import serve
from service.config import Settings, flag, variable
from service.errors import SettingsError


def run(
    *arguments: str, environment: dict[str, str] | None = None, fail: bool = False
) -> tuple[Result, list[Settings]]:
    """Runs a command that only keeps the settings it is called with."""
    given: list[Settings] = []
    app = typer.Typer()

    @app.command()
    @with_settings
    def keep(settings: Settings) -> None:
        given.append(settings)
        if fail:
            raise SettingsError("the device is not there")

    clean = {variable(knob.name): None for knob in dataclasses.fields(Settings)} | {"CONVOY_CONFIG": None}
    return CliRunner().invoke(app, list(arguments), env=clean | (environment or {})), given


def settings_of(*arguments: str, environment: dict[str, str] | None = None) -> Settings:
    result, given = run(*arguments, environment=environment)
    assert result.exit_code == 0, result.output
    [settings] = given
    return settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "convoy.toml"
    path.write_text('repository = "from-the-file"\nport = 1\nmetrics_port = 1\ndrain_delay = 1\n')
    return path


def test_only_the_repository_must_be_given():
    assert settings_of("--repository", "models") == Settings(repository=Path("models"))
    result, _ = run()
    assert result.exit_code == 2
    assert "--repository" in result.stderr


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(file):
    environment = {"CONVOY_PORT": "2", "CONVOY_METRICS_PORT": "2"}
    settings = settings_of("--config", str(file), "--port", "3", environment=environment)
    assert settings.port == 3
    assert settings.metrics_port == 2
    assert (settings.repository, settings.drain_delay) == (Path("from-the-file"), 1.0)
    assert settings.threads == 0


def test_the_file_may_be_named_by_a_variable(file):
    assert settings_of(environment={"CONVOY_CONFIG": str(file)}).port == 1


@pytest.mark.parametrize("knob", dataclasses.fields(Settings), ids=lambda knob: knob.name)
def test_every_setting_is_a_flag_a_variable_and_a_key(knob, tmp_path):
    other = {
        "repository": "elsewhere",
        "host": "127.0.0.1",
        "device": "cpu",
        "transport": "grpcio",
        "runtime": "onnx",
        "precision": "auto",
        "version_policy": "all",
        "state": "elsewhere",
        "allow_admin": "true",
        "tls_cert": "elsewhere",
        "tls_key": "elsewhere",
        "tls_client_ca": "elsewhere",
        "log_level": "error",
        "log_format": "text",
    }.get(knob.name, "7")
    value = [] if other == "true" else [other]
    by_flag = settings_of("--repository", "models", flag(knob.name), *value)
    by_variable = settings_of(environment={"CONVOY_REPOSITORY": "models", variable(knob.name): other})
    path = tmp_path / "convoy.toml"
    written = other if other.isdigit() or other == "true" else f'"{other}"'
    path.write_text(("" if knob.name == "repository" else 'repository = "models"\n') + f"{knob.name} = {written}\n")
    by_file = settings_of("--config", str(path))
    assert by_flag == by_variable == by_file
    assert getattr(by_flag, knob.name) != knob.default


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('repositry = "models"\n', "sets ['repositry']; the settings are ["),
        ("port = \n", "is not TOML: Invalid value (at line 1, column 8)"),
        ("\x00\x01", "is not TOML: "),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_and_exit_code_2(tmp_path, content, sentence):
    path = tmp_path / "convoy.toml"
    path.write_text(content)
    result, given = run("--config", str(path), "--repository", "models")
    assert (result.exit_code, given) == (2, [])
    assert result.stderr.startswith(f"convoy keep: --config {path} {sentence}")
    assert result.stderr.count("\n") == 1


def test_a_file_that_is_no_text_or_not_there_is_told_as_such(tmp_path):
    (tmp_path / "picture.toml").write_bytes(b"\x89PNG\xff")
    for name, sentence in (
        ("picture.toml", "is not TOML: "),
        ("nothing.toml", "can't be read: No such file or directory"),
    ):
        result, _ = run("--config", str(tmp_path / name), "--repository", "models")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"convoy keep: --config {tmp_path / name} {sentence}")


@pytest.mark.parametrize(
    ("content", "named"), [('port = "high"', "--port"), ("port = [1]", "--port"), ('runtime = "torch"', "--runtime")]
)
def test_a_value_of_the_wrong_kind_in_the_file_names_its_setting(tmp_path, content, named):
    path = tmp_path / "convoy.toml"
    path.write_text(content)
    result, _ = run("--config", str(path), "--repository", "models")
    assert result.exit_code == 2
    assert named in result.stderr


def test_a_number_outside_its_limits_is_one_sentence_and_exit_code_2():
    result, given = run("--repository", "models", "--max-pending", "0")
    assert (result.exit_code, given) == (2, [])
    assert result.stderr == "convoy keep: --max-pending is 0, it must be at least 1\n"


def test_a_mistake_that_the_command_finds_is_one_sentence_and_exit_code_2():
    result, _ = run("--repository", "models", fail=True)
    assert (result.exit_code, result.stderr) == (2, "convoy keep: the device is not there\n")


def test_the_help_shows_every_setting_with_its_doc():
    app = typer.Typer(rich_markup_mode=None)
    app.command()(serve)
    text = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout.split())
    for knob in dataclasses.fields(Settings):
        assert flag(knob.name) in text
        assert knob.metadata["doc"].split(".")[0] in text
