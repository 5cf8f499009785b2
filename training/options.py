"""Turns the declarations of `training.config` into the options of `convoy train`.

Each setting becomes a flag that is None unless it is given, so that only what was said changes a recipe. Called by
`training.cli`.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from training.config import TrainingConfig

_ENVIRONMENT = {"data": "CONVOY_DATA"}
_NO_FLAG = ("dataset",)  # the command's argument


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer wants it: its own options and one a setting; it gets those that were given as `changes`."""
    hints = typing.get_type_hints(TrainingConfig)
    knobs = [knob for knob in dataclasses.fields(TrainingConfig) if knob.name not in _NO_FLAG]
    own = inspect.signature(command, eval_str=True)
    kept = [parameter for name, parameter in own.parameters.items() if name != "changes"]
    names = {knob.name for knob in knobs}

    def run(**values: Any) -> None:
        changes = {name: _value(hints[name], value) for name, value in values.items() if name in names}
        given = {name: value for name, value in values.items() if name not in names}
        command(**given, changes={name: value for name, value in changes.items() if value is not None})

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    parameters = [*kept, *(_parameter(knob, hints[knob.name]) for knob in knobs)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(knob: "dataclasses.Field[Any]", hint: Any) -> inspect.Parameter:
    flag = f"--{knob.name.replace('_', '-')}"
    spelling = f"{flag}/--no-{flag[2:]}" if hint is bool else flag
    option = typer.Option(
        spelling, envvar=_ENVIRONMENT.get(knob.name), help=knob.metadata["doc"], rich_help_panel=knob.metadata["group"]
    )
    kind: Any = _kind(hint) | None
    return inspect.Parameter(
        knob.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _kind(hint: Any) -> Any:
    """What Typer can parse: of `X | None` the X, of choices between numbers their text."""
    if get_origin(hint) is Literal:
        return Literal[tuple(map(str, get_args(hint)))]
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint)


def _value(hint: Any, text: Any) -> Any:
    """A choice as it is declared, from its text."""
    if get_origin(hint) is Literal and text is not None:
        return next(choice for choice in get_args(hint) if str(choice) == text)
    return text
