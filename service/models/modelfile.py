"""What a model's own file says: `<repository>/<model>/convoy.toml`, which overrules the server's settings for it.

    [versions]
    policy = "latest:2"
    [labels]
    stable = 3
    [plan]
    threads = 2

The invariant: a file is taken whole or not at all. One that is wrong is a reason, never half of what it says; what the
model had goes on. Read with every look at the repository and nowhere else while serving, so that a mistake is told
once and no longer than it stands there; it must be cheap: small files only.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from service.errors import SettingsError
from service.models.labels import check_label
from service.models.planning import candidates
from service.models.policy import ALLOWED, Policy

NAME: Final = "convoy.toml"
MOST_BYTES: Final = 65_536
TABLES: Final = frozenset({"versions", "labels", "plan"})

_HIGHEST: Final = 10**18 - 1  # the highest number that a version's folder may have


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The file's terms; `policy` None where it leaves that to the server, `plan` what `Pins.of` takes.

    No file is the same as an empty one.
    """

    policy: Policy | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    plan: Mapping[str, object] = field(default_factory=dict)


def read(model: Path) -> ModelFile:
    """The file in a model's folder. Raises SettingsError, one sentence that names the file and what is wrong."""
    path = model / NAME
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return ModelFile()
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise SettingsError(f"{path} is over {MOST_BYTES:,} bytes; a model's file has a few lines")
    try:
        return _parse(tomllib.loads(content.decode()))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except ValueError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error


def _parse(tables: Mapping[str, Any]) -> ModelFile:
    if unknown := sorted(tables.keys() - TABLES):
        raise SettingsError(f"it has {unknown}, which is not known; its tables are {sorted(TABLES)}")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{name} is {table!r}, it must be a table: [{name}]")
    plan = tables.get("plan", {})
    candidates.check(plan)
    return ModelFile(_policy(tables.get("versions", {})), _labels(tables.get("labels", {})), plan)


def _policy(table: Mapping[str, Any]) -> Policy | None:
    if unknown := sorted(table.keys() - {"policy"}):
        raise SettingsError(f"[versions] has {unknown}, which is not known; its only key is policy")
    if "policy" not in table:
        return None
    if not isinstance(table["policy"], str):
        raise SettingsError(f"[versions] policy is {table['policy']!r}, it must be text: {ALLOWED}")
    return Policy.parse(table["policy"])


def _labels(table: Mapping[str, Any]) -> dict[str, int]:
    for label, version in table.items():
        check_label(label, SettingsError)
        # In TOML `true` is no number, but in Python it is one; a dotted label without quotes makes a table of its own.
        if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= _HIGHEST:
            raise SettingsError(
                f"[labels] {label} is {version!r}, it must be a version's number; a label with a dot needs quotes"
            )
    return dict(table)
