"""What the user says about a model: the options of `convoy publish` as values, checked one by one.

Made by `training.cli_publish` before any library is loaded, so that a mistyped option is said at once; read by
`deciding`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.errors import ConfigInvalid
from training.foreign.contract import Activation
from training.foreign.scaling import Scaling
from training.tasks import CLASS_HEAD

_SIZE = re.compile(r"(\d+)x(\d+)")
_HEAD = re.compile(r"[a-z][a-z0-9_]*")
_LARGEST = 16_384


@dataclass(frozen=True, slots=True)
class Wishes:
    """None where nothing is said. `labels` are the label file's lines, `labels_file` its path."""

    labels: tuple[str, ...]
    labels_file: Path
    preprocess: Scaling | None = None
    size: tuple[int, int] | None = None
    """Height and width."""
    channels: int | None = None
    layout: Literal["nhwc", "nchw"] | None = None
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    kernel: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"] = "bilinear"
    crop_fraction: float = 1.0
    activation: Activation | None = None
    output: str | None = None
    head: str = CLASS_HEAD

    def __post_init__(self) -> None:
        if not _HEAD.fullmatch(self.head):
            raise ConfigInvalid(f"--head {self.head} is not possible; use small letters, digits and underscores")
        if self.channels not in {None, 1, 3}:
            raise ConfigInvalid(f"--channels {self.channels} is not possible; pictures have 1 (grey) or 3 (colour)")


def read_labels(file: Path) -> tuple[str, ...]:
    """The labels, one a line, in the order of the classes. Raises ConfigInvalid."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigInvalid(f"--labels {file} can't be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"--labels {file} is not UTF-8 text; write one label a line") from error
    labels = tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
    if labels == ("",):
        raise ConfigInvalid(f"--labels {file} is empty; write one label a line, in the order of the classes")
    if "" in labels:
        raise ConfigInvalid(f"--labels {file}: line {labels.index('') + 1} is empty; every line is one class's label")
    return labels


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from HEIGHTxWIDTH. Raises ConfigInvalid."""
    match = _SIZE.fullmatch(text)
    if match is None or not all(1 <= int(side) <= _LARGEST for side in match.groups()):
        raise ConfigInvalid(f"--size {text} is not a size; give HEIGHTxWIDTH, such as 224x224, up to {_LARGEST} a side")
    return int(match[1]), int(match[2])
