"""Parquet rows of images and texts, as The Cauldron has them, a few megabytes at a time.

A batch is read column by column; one that holds anything unusual (nulls, other types, a string that is no UTF-8) row by
row, so that a broken row costs itself only.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

# Rows are held as many at a time as make up so many bytes: a row brings its images along.
BATCH_BYTES = 4 << 20
MOST_ROWS = 1024
# Columns are read page by page: without a buffer Arrow reads those of a whole row group first, and with its pre_buffer
# it keeps every row group that it has read. A page is the least that can be held; some writers make one per row group.
BUFFER = 1 << 20


class Image(msgspec.Struct, frozen=True):
    """An image as its bytes, or where it lies."""

    bytes: bytes | None
    path: str | None


class Text(msgspec.Struct, frozen=True):
    """A question and its answer."""

    user: str
    assistant: str


# What Arrow raises on broken files.
DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError)

Kind = TypeVar("Kind", Image, Text)
_USUAL = {
    "bytes": (pa.binary(), pa.large_binary()),
    "path": (pa.string(), pa.large_string(), pa.null()),
    "user": (pa.string(), pa.large_string()),
    "assistant": (pa.string(), pa.large_string()),
}
_NULLABLE = frozenset({"bytes", "path"})


class Row(msgspec.Struct, frozen=True):
    """Images, and what is asked about them."""

    images: list[Image]
    texts: list[Text]


class _Unusual(Exception):
    """A batch cannot be read by columns."""


def read_rows(path: Path) -> Iterator[Row | str]:
    """Yield the rows of a file, a complaint standing in for each that cannot be read or has not their shape.

    Raises one of DAMAGE where the file as a whole cannot be read.
    """
    with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
        at_a_time = _rows_at_a_time(file.metadata)
        for group in range(file.num_row_groups):
            yield from _group_rows(file, group, at_a_time)


def _group_rows(file: pq.ParquetFile, group: int, at_a_time: int) -> Iterator[Row | str]:
    """Yield the rows of a row group; where its pages are broken, a complaint for each row that is left of it."""
    done = 0
    try:
        for batch in file.iter_batches(batch_size=at_a_time, row_groups=[group], use_threads=False):
            rows = _batch_rows(batch)
            done += len(rows)
            yield from rows
    except DAMAGE as error:
        told = f"row group {group} cannot be read: {' '.join(str(error).split())}"
        yield from repeat(told, file.metadata.row_group(group).num_rows - done)


def _batch_rows(batch: pa.RecordBatch) -> Sequence[Row | str]:
    try:
        return _by_columns(batch)
    except (_Unusual, UnicodeDecodeError):
        return list(map(_by_itself, batch.to_struct_array()))


def _rows_at_a_time(metadata: pq.FileMetaData) -> int:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    row_bytes = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=1)
    return min(max(BATCH_BYTES // max(row_bytes, 1), 1), MOST_ROWS)


def _by_columns(batch: pa.RecordBatch) -> list[Row]:
    images = _lists(batch, "images", Image)
    texts = _lists(batch, "texts", Text)
    return list(map(Row, images, texts))


def _lists(batch: pa.RecordBatch, column: str, kind: type[Kind]) -> list[list[Kind]]:
    """Return a list of `kind` for each row of a column of lists."""
    if column not in batch.schema.names:
        raise _Unusual
    lists: Any = batch.column(column)
    structs = lists.flatten() if pa.types.is_list(lists.type) and not lists.null_count else None
    if structs is None or not pa.types.is_struct(structs.type) or structs.null_count:
        raise _Unusual
    made = list(map(kind, *(_values(structs, field) for field in kind.__struct_fields__)))
    ends = lists.offsets.to_pylist()
    return [made[start - ends[0] : end - ends[0]] for start, end in pairwise(ends)]


def _values(structs: pa.StructArray, field: str) -> list[Any]:
    if structs.type.get_field_index(field) < 0:
        raise _Unusual
    values = structs.field(field)
    usual = values.type in _USUAL[field] and (field in _NULLABLE or not values.null_count)
    if not usual:
        raise _Unusual
    return values.to_pylist()


def _by_itself(row: pa.StructScalar) -> Row | str:
    try:
        return msgspec.convert(row.as_py(), Row, builtin_types=(bytes,))
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        return str(error)
