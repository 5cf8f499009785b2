"""Turns the declarations of `service.config` into a command's options.

Each setting becomes a flag, a `CONVOY_*` variable and a key of the TOML file that `--config` names; the flag wins over
the variable, the variable over the file, the file over the default. The command is called with a finished Settings,
and a SettingsError, wherever it comes from, ends the process with its sentence and exit code 2.
"""

import dataclasses
import inspect
import tomllib
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from service.config import Settings, flag, variable
from service.errors import SettingsError


def with_settings(command: Callable[[Settings], None]) -> Callable[..., None]:
    """The command as Typer wants it: one option a setting, and `--config`."""
    hints = typing.get_type_hints(Settings)
    parameters = [_parameter(knob, hints[knob.name]) for knob in dataclasses.fields(Settings)]

    def run(config: Path | None, **values: Any) -> None:  # noqa: ARG001 - read by its callback, before the others
        with _mistakes(command.__name__):
            command(Settings(**values))

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    config = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_CONFIG)
    signature = inspect.Signature([config, *parameters])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return run


def _parameter(knob: "dataclasses.Field[Any]", kind: Any) -> inspect.Parameter:
    option = typer.Option(flag(knob.name), envvar=variable(knob.name), help=knob.metadata["doc"])
    default = inspect.Parameter.empty if knob.default is dataclasses.MISSING else knob.default
    return inspect.Parameter(
        knob.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _read(context: typer.Context, path: Path | None) -> Path | None:
    """Makes the file's values the defaults of the other options."""
    if path is not None:
        with _mistakes(str(context.info_name)):
            context.default_map = {**(context.default_map or {}), **_parse(path)}
    return path


def _parse(path: Path) -> dict[str, Any]:
    """The file's settings. Raises SettingsError for what is no TOML file and for a key that is no setting."""
    try:
        values = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsError(f"--config {path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"--config {path} is not TOML: {error}") from error
    known = {knob.name for knob in dataclasses.fields(Settings)}
    if unknown := values.keys() - known:
        raise SettingsError(f"--config {path} sets {sorted(unknown)}; the settings are {sorted(known)}")
    return values


@contextmanager
def _mistakes(command: str) -> Iterator[None]:
    """Ends the process with the sentence of a SettingsError and exit code 2."""
    try:
        yield
    except SettingsError as error:
        typer.echo(f"convoy {command}: {error}", err=True)
        raise typer.Exit(2) from error


_CONFIG = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="CONVOY_CONFIG", is_eager=True, callback=_read, help="TOML file of settings, by their names."
    ),
]
