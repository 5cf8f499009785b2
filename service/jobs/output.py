"""The Parquet file that a batch job writes: its columns, and that it appears whole or not at all.

Rows go to a hidden file beside the output, which is renamed at the end; after any failure neither is there, and an
earlier output is untouched. Called by `batch.run_batch`.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
from pyarrow import parquet

from service.errors import ServiceError, SettingsError
from service.jobs.predictor import Failure, Prediction

_ROWS_A_GROUP: Final = 16_384


class OutputFailed(ServiceError):
    """The output could not be written; nothing of it is left."""


def schema(heads: Sequence[str], facts: dict[str, str]) -> pa.Schema:
    """`path`, `error` and, for each head, the best class and the list of the best. `facts` become file metadata.

    `<head>_label` string, `<head>_index` int32, `<head>_score` float32, `<head>_abstained` bool, which says that the
    model is too unsure for its answer to be used; `<head>_top_labels`, `_top_indices` and `_top_scores` are lists,
    best first. All of them are null where `error` is not.
    """
    text, index, score = pa.string(), pa.int32(), pa.float32()
    fields = [pa.field("path", text, nullable=False), pa.field("error", text)]
    for head in heads:
        for name, kind in (("label", text), ("index", index), ("score", score), ("abstained", pa.bool_())):
            fields.append(pa.field(f"{head}_{name}", kind))
        for name, kind in (("labels", text), ("indices", index), ("scores", score)):
            fields.append(pa.field(f"{head}_top_{name}", pa.list_(kind)))
    return pa.schema(fields, metadata=facts)


class Rows:
    """Writes rows of a schema in groups of some thousands, so that memory stays bounded."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self._columns = columns
        self._writer = parquet.ParquetWriter(path, columns, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def add(self, path: Path, answer: Prediction | Failure) -> None:
        """One picture's row."""
        self._waiting.append({"path": _printable(path)} | _cells(answer))
        if len(self._waiting) == _ROWS_A_GROUP:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._columns))
        self._waiting.clear()


def _cells(answer: Prediction | Failure) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"error": answer.reason}
    cells: dict[str, Any] = {}
    for name, head in answer.heads.items():
        cells |= {f"{name}_label": head.labels[0], f"{name}_index": head.indices[0], f"{name}_score": head.scores[0]}
        cells |= {
            f"{name}_abstained": head.abstained,
            f"{name}_top_labels": head.labels,
            f"{name}_top_indices": head.indices,
            f"{name}_top_scores": head.scores,
        }
    return cells


def _printable(path: Path) -> str:
    """The path as Parquet can hold it: a name that is not UTF-8 shows replacement characters."""
    return os.fsencode(path).decode(errors="replace")


def check_writable(output: Path) -> None:
    """Tries to write beside the output, before any work is done. Raises SettingsError."""
    if output.is_dir():
        raise SettingsError(f"output {output} is a folder; give the name of a file in it")
    try:
        partial = _partial(output)
        partial.touch(exist_ok=False)
        partial.unlink()
    except OSError as error:
        raise SettingsError(f"output {output} can't be written: {error.strerror}; choose another folder") from error


@contextmanager
def whole_file(output: Path) -> Iterator[Path]:
    """A hidden path beside `output` that becomes `output` when the block ends well. Raises OutputFailed."""
    partial = _partial(output)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(output)
    except OSError as error:
        raise OutputFailed(f"output {output} can't be written: {error}; nothing of it is left") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _partial(output: Path) -> Path:
    return output.with_name(f".{output.name}.{secrets.token_hex(4)}.partial")
