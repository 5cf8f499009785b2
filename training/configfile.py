"""Reads the file that `convoy train --config` names: TOML with the settings, or Python with a `config`.

A TOML file holds the fields of `TrainingConfig`, and may name the `preset` that it changes. A Python file is run, and
its `config` must be a TrainingConfig. Called by `training.cli`.
"""

import runpy
import tomllib
from pathlib import Path
from typing import Any

from training.config import TrainingConfig, check_values
from training.errors import ConfigInvalid

PRESET = "preset"


def read(path: Path) -> TrainingConfig | dict[str, Any]:
    """A whole configuration from a Python file; from TOML the values that it sets, with `preset` where it is named.

    Raises ConfigInvalid for a file that can't be read or is neither.
    """
    if path.suffix == ".py":
        return _python(path)
    try:
        values = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigInvalid(f"--config {path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigInvalid(f"--config {path} is not TOML: {error}") from error
    check_values({name: value for name, value in values.items() if name != PRESET}, f"--config {path}")
    return values


def _python(path: Path) -> TrainingConfig:
    try:
        config = runpy.run_path(str(path)).get("config")
    except ConfigInvalid:
        raise
    except OSError as error:
        raise ConfigInvalid(f"--config {path} can't be read: {error.strerror}") from error
    except Exception as error:  # whatever a user's code raises
        raise ConfigInvalid(f"--config {path} failed: {type(error).__name__}: {error}") from error
    if not isinstance(config, TrainingConfig):
        raise ConfigInvalid(f"--config {path} must set `config` to a training.config.TrainingConfig")
    return config
