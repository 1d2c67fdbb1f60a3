"""Records to Arrow and back: the Arrow schema of a record is derived from its annotations."""

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
from pydantic import TypeAdapter

Record = TypeVar("Record")

# So many records are Python's dictionaries at a time, which take several times their room.
AT_ONCE = 250
_SCALARS: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def arrow_schema(record: type) -> pa.Schema:
    """Return the Arrow schema of a record class: nested records are structs, tuples are lists."""
    return pa.schema(_arrow_fields(record))


def to_table(records: Sequence[Record], record: type[Record]) -> pa.Table:
    """Return `records` as a table of `arrow_schema(record)`, in order."""
    adapter, schema = _adapter(record), _schema(record)
    some = [records[start : start + AT_ONCE] for start in range(0, len(records), AT_ONCE)] or [()]
    tables = [pa.Table.from_pylist(adapter.dump_python([*each]), schema=schema) for each in some]
    # In one piece: how a table is cut shows in the bytes of its file.
    return pa.concat_tables(tables).combine_chunks()


def from_table(table: pa.Table, record: type[Record]) -> list[Record]:
    """Return the records of a table, in order; raise pydantic.ValidationError where a row is not one."""
    return [*from_batches(table.to_batches(AT_ONCE), record)]


def from_batches(batches: Iterable[pa.RecordBatch], record: type[Record]) -> Iterator[Record]:
    """Yield the records of `batches`, which are best of `AT_ONCE` rows, in order; see `from_table`."""
    adapter = _adapter(record)
    for some in batches:
        yield from adapter.validate_python(some.to_pylist())


def _make_adapter(record: type) -> TypeAdapter[Any]:
    return TypeAdapter(list[record])  # type: ignore[valid-type]


# Both take longer to derive than a small table to write.
_schema: Callable[[type], pa.Schema] = cache(arrow_schema)
_adapter: Callable[[type], TypeAdapter[Any]] = cache(_make_adapter)


def _arrow_fields(record: type) -> "list[pa.Field[pa.DataType]]":
    hints = get_type_hints(record)
    return [pa.field(field.name, *_arrow_type(hints[field.name])) for field in fields(record)]


def _arrow_type(hint: Any) -> tuple[pa.DataType, bool]:
    """Return the Arrow type of an annotation and whether it may be null."""
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = (arg for arg in get_args(hint) if arg is not types.NoneType)
        return _arrow_type(inner)[0], True
    return _required_type(hint), False


def _required_type(hint: Any) -> pa.DataType:
    if get_origin(hint) is Literal:
        return pa.string()
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(get_args(hint)[0])[0])
    if hint in _SCALARS:
        return _SCALARS[hint]
    return pa.struct(_arrow_fields(hint))
