"""Parquet as `datasets` opens it: shards of about one size, images inside, features in the Arrow schema's metadata."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# A group of rows is what a reader holds at once: so many rows, or so many bytes.
GROUP_ROWS, GROUP_BYTES = 1000, 32 * 1024 * 1024

MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
IMAGES = pa.list_(pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))
_TYPES: dict[str, pa.DataType] = {
    "id": pa.string(),
    "source": pa.string(),
    "part": pa.string(),
    "licence": pa.string(),
    "messages": MESSAGES,
    "images": IMAGES,
    "question": pa.string(),
    "answers": pa.list_(pa.string()),
    "answer_type": pa.string(),
    "reflection": pa.string(),
    "teacher": pa.string(),
    "audit_score": pa.float64(),
}
# The names under which datasets.Features knows the same types (datasets >= 4).
_VALUE = {"dtype": "string", "_type": "Value"}
_FEATURES: dict[str, Any] = {
    **dict.fromkeys(_TYPES, _VALUE),
    "messages": {"feature": {"role": _VALUE, "content": _VALUE}, "_type": "List"},
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "answers": {"feature": _VALUE, "_type": "List"},
    "audit_score": {"dtype": "float64", "_type": "Value"},
}
SCHEMA = pa.schema(
    list(_TYPES.items()), metadata={b"huggingface": json.dumps({"info": {"features": _FEATURES}}).encode()}
)
# The same in the form that a card's YAML has.
CARD_FEATURES: list[dict[str, Any]] = [
    {"name": name, **({"dtype": str(kind).replace("double", "float64")} if not pa.types.is_list(kind) else {})}
    for name, kind in _TYPES.items()
]
_LISTS: dict[str, Any] = {
    "messages": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}],
    "images": "image",
    "answers": "string",
}
for _feature in CARD_FEATURES:
    if _feature["name"] in _LISTS:
        _feature["list"] = _LISTS[_feature["name"]]

_REPETITIVE = ["source", "part", "licence", "messages.list.element.role", "answer_type", "reflection", "teacher"]
_PICTURES = "images.list.element.bytes"
_LEAVES = [
    *(name for name, kind in _TYPES.items() if not pa.types.is_list(kind)),
    *(f"messages.list.element.{name}" for name in ("role", "content")),
    *(f"images.list.element.{name}" for name in ("bytes", "path")),
    "answers.list.element",
]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A finished file: its path in the release, and its rows."""

    path: str
    rows: int


@dataclass(kw_only=True)
class ShardWriter:
    """Writes rows to `<stem>-00000-of-00002.parquet`, ...; how many there are is known at the end."""

    root: Path
    stem: str
    shard_bytes: int
    arrow_bytes: int = 0
    _rows: list[int] = field(default_factory=list)
    _waiting: list[pa.Table] = field(default_factory=list)
    _sink: pa.NativeFile | None = None
    _writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.Table) -> None:
        """Take rows of SCHEMA; they are written when there are enough for a group."""
        if not len(rows):
            return
        self.arrow_bytes += rows.nbytes
        self._waiting.append(rows)
        if self._waiting_rows >= GROUP_ROWS or sum(table.nbytes for table in self._waiting) >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> Sequence[Shard]:
        """Close the last file, give all their names, and return them; none where there were no rows."""
        if self._waiting:
            self._write_group()
        self._close()
        shards = []
        for number, rows in enumerate(self._rows):
            path = f"{self.stem}-{number:05d}-of-{len(self._rows):05d}.parquet"
            self._unnamed(number).rename(self.root / path)
            shards.append(Shard(path=path, rows=rows))
        return shards

    def abandon(self) -> None:
        """Close what is open, for a release that fails."""
        self._waiting.clear()
        self._close()

    @property
    def _waiting_rows(self) -> int:
        return sum(len(table) for table in self._waiting)

    def _write_group(self) -> None:
        writer = self._writer or self._open()
        rows = pa.concat_tables(self._waiting)
        self._waiting.clear()
        writer.write_table(rows, row_group_size=len(rows))
        self._rows[-1] += len(rows)
        assert self._sink is not None
        if self._sink.tell() >= self.shard_bytes:
            self._close()

    def _open(self) -> pq.ParquetWriter:
        path = self._unnamed(len(self._rows))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows.append(0)
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(self._sink, SCHEMA, **parquet_settings())
        return self._writer

    def _close(self) -> None:
        if self._writer is not None and self._sink is not None:
            self._writer.close()
            self._sink.close()
        self._writer = self._sink = None

    def _unnamed(self, number: int) -> Path:
        return self.root / f"{self.stem}-{number:05d}.writing"


def parquet_settings() -> dict[str, Any]:
    """Return how the columns are written: images are compressed already, and words that repeat are told once."""
    return {
        "compression": {leaf: "none" if leaf == _PICTURES else "zstd" for leaf in _LEAVES},
        "use_dictionary": _REPETITIVE,
        "write_statistics": ["id", "source", "part", "audit_score"],
        "write_page_index": True,
    }
