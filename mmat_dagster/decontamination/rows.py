"""Reads the rows of a file in any of four forms: JSON, JSON Lines, Parquet, and tables of text (TSV, CSV).

A JSON file is an array or an object of records, an object that holds such an array, or one record alone.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmat_dagster.sources import json_files
from mmat_dagster.sources.scanning import LONGEST

# Parquet rows in memory at a time: a row brings its images along.
BATCH = 16
# A record that is a whole file has no more fields than this; an object of more is a dictionary of something else.
FIELDS = 64
# A JSON file whose first line is an object of at most so many bytes, and has more behind it, is JSON Lines.
FIRST_LINE = 1 << 20
# What VLMEvalKit takes for an image itself is longer than the number of a row whose image is meant.
REFERENCE = 64


@dataclass(frozen=True, kw_only=True)
class Row:
    """A record: its fields by their lower-case names, its key or place in the file, and its number from 1."""

    fields: Mapping[str, object]
    name: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A part of a file that cannot be read."""

    where: str
    problem: str


def read_rows(path: Path) -> Iterator[Row | Broken]:
    """Yield the rows of a file; where it breaks off, the last one tells so."""
    try:
        yield from FORMS[path.suffix.lower()](path)
    except (pa.ArrowException, OSError, ValueError, LookupError, csv.Error) as error:
        yield Broken(where=path.name, problem=told(error))


def _read_json(path: Path) -> Iterator[Row | Broken]:
    if _holds_lines(path):
        yield from _read_json_lines(path)
        return
    alone: dict[str, object] = {}
    for number, key, value in json_files.read_entries(path, object):
        if isinstance(value, dict):
            yield _row(value, key or f"{path.name}:{number}", number)
        elif isinstance(value, json_files.Broken):
            yield Broken(where=value.where, problem=value.complaint)
        elif key and len(alone) < FIELDS:
            alone[key] = value
            yield from _listed(value, f"{path.name}:{key}")
    if alone:
        yield _row(alone, f"{path.parent.name}/{path.stem}", 1)


def _read_json_lines(path: Path) -> Iterator[Row | Broken]:
    for number, value in json_files.read_lines(path, object):
        if isinstance(value, json_files.Broken):
            yield Broken(where=value.where, problem=value.complaint)
        elif isinstance(value, dict):
            yield _row(value, f"{path.name}:{number}", number)


def _read_parquet(path: Path) -> Iterator[Row | Broken]:
    number = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
            for fields in batch.to_pylist():
                number += 1
                yield _row(fields, f"{path.name}:{number}", number)


def _read_table(path: Path) -> Iterator[Row | Broken]:
    """Yield the rows of a table; those that name another row for their image follow it and have a copy."""
    shared = _references(path)
    sharing = _sharing(path, shared) if shared else {}
    for row in _table_rows(path):
        if isinstance(row, Broken):
            yield row
            continue
        if row.number not in shared:
            yield row
        for other in sharing.pop(str(row.fields.get("index")), ()):
            yield _row({**other.fields, "image": row.fields.get("image")}, other.name, other.number)
    yield from (row for rows in sharing.values() for row in rows)


def _sharing(path: Path, shared: Mapping[int, str]) -> dict[str, list[Row]]:
    """Return the rows that name another one, by its index."""
    sharing: dict[str, list[Row]] = {}
    for row in _table_rows(path):
        if isinstance(row, Row) and row.number in shared:
            sharing.setdefault(shared[row.number], []).append(row)
    return sharing


def _references(path: Path) -> dict[int, str]:
    """Return the index that a row gives in place of an image, by the number of the row."""
    short: dict[int, str] = {}
    indices: set[str] = set()
    for row in _table_rows(path):
        if isinstance(row, Row):
            indices.add(str(row.fields.get("index")))
            image = str(row.fields.get("image") or "")
            if 0 < len(image) <= REFERENCE:
                short[row.number] = image
    return {number: image for number, image in short.items() if image in indices}


def _table_rows(path: Path) -> Iterator[Row | Broken]:
    csv.field_size_limit(LONGEST)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        header = next(lines, [])
        for number, cells in enumerate(lines, start=1):
            if len(cells) == len(header):
                yield _row(dict(zip(header, cells, strict=True)), f"{path.name}:{number}", number)
            elif cells:
                problem = f"{len(cells)} cells under {len(header)} headings"
                yield Broken(where=f"{path.name}: row {number}", problem=problem)


def _holds_lines(path: Path) -> bool:
    with path.open("rb") as file:
        first, second = file.readline(FIRST_LINE), file.readline(FIRST_LINE)
    return bool(second.strip()) and isinstance(json_files.parse(first, json_files.decoder(object), ""), dict)


def _listed(value: object, name: str) -> Iterator[Row]:
    for number, one in enumerate(value if isinstance(value, list) else (), start=1):
        if isinstance(one, dict):
            yield _row(one, f"{name}:{number}", number)


def _row(fields: Mapping[str, object], name: str, number: int) -> Row:
    return Row(fields={key.casefold(): value for key, value in fields.items()}, name=name, number=number)


def told(error: Exception) -> str:
    """Return what went wrong in one line; an operating system's complaint without the path that it names."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:300] or type(error).__name__


FORMS: dict[str, Callable[[Path], Iterator[Row | Broken]]] = {
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
    ".tsv": _read_table,
    ".csv": _read_table,
}
