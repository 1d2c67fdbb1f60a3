"""The benchmarks' images and questions in the form in which samples are compared with them; kept as one file.

Parquet, one row per item: benchmark | item | wording | grams [uint64] | images [sha256] | likenesses [bytes or null]
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from mmat_dagster.decontamination.guard import Guard, Searches, find_templates
from mmat_dagster.decontamination.pictures import PictureSearch
from mmat_dagster.decontamination.questions import QuestionSearch
from mmat_dagster.fingerprints import code_fingerprint
from mmat_dagster.sources.parquet_rows import DAMAGE


class OutdatedIndex(Exception):
    """The file holds no index, or one that was built by other rules than today's."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkCounts:
    """What was read of one benchmark, and what of it cannot be compared.

    `images` are distinct and readable; missing ones are named in a record and not there. Short questions have no
    8-gram. `problems` tell, file by file, what is broken.
    """

    items: int = 0
    images: int = 0
    missing_images: int = 0
    unreadable_images: int = 0
    short_questions: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An item as it is compared: the hashes of its question and 8-grams, and its images by SHA-256."""

    benchmark: str
    item: str
    wording: int
    grams: tuple[int, ...]
    images: tuple[str, ...]


_ENTRY = TypeAdapter(Entry)
_COUNTS = TypeAdapter(dict[str, BenchmarkCounts])
_COUNTS_KEY, _RULES_KEY = b"mmat.counts", b"mmat.rules"
# Of the rows that show an image, the first one holds its likeness.
_COLUMNS: dict[str, pa.DataType] = {
    "benchmark": pa.string(),
    "item": pa.string(),
    "wording": pa.uint64(),
    "grams": pa.list_(pa.uint64()),
    "images": pa.list_(pa.string()),
    "likenesses": pa.list_(pa.binary()),
}


def rules() -> str:
    """Return the fingerprint of the code that decides what an index holds and what is alike."""
    return code_fingerprint("likeness.py", "decontamination/*.py")


@dataclass(frozen=True, kw_only=True)
class BenchmarkIndex:
    """All benchmarks, ready to be compared with. `likenesses` holds that of every image by its SHA-256."""

    entries: tuple[Entry, ...]
    likenesses: dict[str, bytes] = field(repr=False)
    counts: dict[str, BenchmarkCounts]

    @cached_property
    def searches(self) -> Searches:
        """The entries as they are searched; built at the first use."""
        shas = list(self.likenesses)
        by_sha: dict[str, list[int]] = {sha256: [] for sha256 in shas}
        for number, entry in enumerate(self.entries):
            for sha256 in entry.images:
                by_sha[sha256].append(number)
        return Searches(
            names=[(entry.benchmark, entry.item) for entry in self.entries],
            by_sha=by_sha,
            showing=[by_sha[sha256] for sha256 in shas],
            questions=QuestionSearch(
                [np.array(entry.grams, dtype=np.uint64) for entry in self.entries],
                [(entry.benchmark, entry.wording) for entry in self.entries],
            ),
            pictures=PictureSearch(list(self.likenesses.values())),
        )

    def guard(self, questions: Iterable[str]) -> Guard:
        """Return the guard of a source: `questions` are all that it asks, once per record."""
        return Guard(searches=self.searches, templates=find_templates(self.searches, questions))

    def to_bytes(self) -> bytes:
        """Return the index as a Parquet file, equal for equal content."""
        told: set[str] = set()
        rows = [self._row(entry, told) for entry in self.entries]
        metadata: dict[bytes | str, bytes | str] = {
            _COUNTS_KEY: _COUNTS.dump_json(self.counts),
            _RULES_KEY: rules().encode(),
        }
        buffer = io.BytesIO()
        table = pa.Table.from_pylist(rows, schema=pa.schema(_COLUMNS, metadata=metadata))
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "BenchmarkIndex":
        """Return the index that `to_bytes` wrote; raise OutdatedIndex where it is none or other rules made it."""
        try:
            # In this thread alone, as in `parts`.
            with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
                table = file.read(use_threads=False)
        except DAMAGE as error:
            raise OutdatedIndex(f"no index of benchmarks: {error}") from error
        metadata = table.schema.metadata or {}
        if metadata.get(_RULES_KEY) != rules().encode():
            raise OutdatedIndex("the index of benchmarks was built by other rules")
        rows = table.to_pylist()
        likenesses = {sha: look for row in rows for sha, look in _pairs(row["images"], row["likenesses"]) if look}
        entries = tuple(_entry(row) for row in rows)
        return cls(entries=entries, likenesses=likenesses, counts=_COUNTS.validate_json(metadata[_COUNTS_KEY]))

    def _row(self, entry: Entry, told: set[str]) -> dict[str, object]:
        looks = [None if sha256 in told else self.likenesses[sha256] for sha256 in entry.images]
        told.update(entry.images)
        return {
            "benchmark": entry.benchmark,
            "item": entry.item,
            "wording": entry.wording,
            "grams": list(entry.grams),
            "images": list(entry.images),
            "likenesses": looks,
        }


def _pairs(images: list[str], looks: list[bytes | None]) -> Iterable[tuple[str, bytes | None]]:
    return zip(images, looks, strict=True)


def _entry(row: dict[str, object]) -> Entry:
    return _ENTRY.validate_python({key: value for key, value in row.items() if key != "likenesses"})
