"""Lists the pictures of a CSV or Parquet table: a column `path`, a column `label`, and a column `split` or none.

Paths are relative to the table's folder. An empty `split` leaves the choice to the hash. Called by `files`.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.datasets.listing import SPLIT_NAMES, Listed
from training.errors import DatasetCorrupt, DatasetUnavailable

SUFFIXES = (".csv", ".parquet")
_COLUMNS = ("path", "label")
Row = Mapping[str, object]


def pictures(table: Path) -> list[Listed]:
    """Every row's picture, in the table's order. Raises DatasetUnavailable, and DatasetCorrupt that names the row."""
    try:
        rows = _csv(table) if table.suffix.lower() == ".csv" else _parquet(table)
        return [_listed(table, number, row) for number, row in enumerate(rows, 1)]
    except OSError as error:
        raise DatasetUnavailable(f"{table} can't be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetCorrupt(f"{table} is not CSV in UTF-8: {error}") from error


def _csv(table: Path) -> Iterator[Row]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        _require_columns(table, rows.fieldnames or ())
        yield from rows


def _parquet(table: Path) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise DatasetUnavailable(
            f"reading {table} needs pyarrow; run pip install '.[batch]' in a checkout of Convoy, or write a CSV table"
        ) from error
    try:
        with pq.ParquetFile(table) as file:
            names = file.schema_arrow.names
            _require_columns(table, names)
            wanted = [name for name in (*_COLUMNS, "split") if name in names]
            for batch in file.iter_batches(columns=wanted):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise DatasetCorrupt(f"{table} is not a Parquet file: {error}") from error


def _require_columns(table: Path, names: object) -> None:
    there = list(names) if isinstance(names, list | tuple) else []
    missing = [name for name in _COLUMNS if name not in there]
    if missing:
        raise DatasetCorrupt(f"{table} has no column {missing[0]!r}; it needs 'path' and 'label', and has {there}")


def _listed(table: Path, number: int, row: Row) -> Listed:
    path, label, split = (str(value) if (value := row.get(name)) is not None else "" for name in (*_COLUMNS, "split"))
    if not path or not label.strip():
        raise DatasetCorrupt(f"row {number} of {table} has no {'label' if path else 'path'}")
    if split and split.lower() not in SPLIT_NAMES:
        raise DatasetCorrupt(f"row {number} of {table} has the split {split!r}; use train, validation or test")
    return Listed(table.parent / path, label.strip(), SPLIT_NAMES[split.lower()] if split else None)
