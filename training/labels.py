"""Writes a head's labels into a version: `labels/<head>.txt`, one a line, in the order of the classes.

The one place that does: `bundle.store` reads them again. Called by `training.publish` and `training.foreign.publish`.
"""

from collections.abc import Sequence
from pathlib import Path


def write_labels(folder: Path, head: str, labels: Sequence[str]) -> str:
    """Writes the file into the version's folder and gives its path within that, as the manifest has it."""
    path = f"labels/{head}.txt"
    (folder / "labels").mkdir(exist_ok=True)
    (folder / path).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return path
