"""Datasets as parts: Parquet files of about 5,000 rows whose names say what decided their content.

    <dataset>/<source>/part-00000-<key>.parquet            the records
    <dataset>/<source>/part-00000-<key>.rejected.parquet   what was lost on the way, with its reasons
    <dataset>/<source>/manifest.json                       which parts make up the dataset now; written last

A part whose file is there is finished and is not done again. Readers follow the manifest, so a rebuild shows up whole
or not at all; parts that no manifest names any more are removed after it was written.

What a disk has damaged is noticed by SHA-256: a manifest that cannot be read, and a part that is not what was written,
count as not finished and are made again; a part of a manifest that is not what it names is an error where it is read.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from mmat_dagster.interfaces import Store, StoreError
from mmat_dagster.records import AT_ONCE, arrow_schema, from_batches, from_table, to_table
from mmat_dagster.schema import DatasetName, Rejection, SourceName

PART_ROWS = 5000
# A part is written and read in row groups of so many records, so that memory never holds a whole part as records.
GROUP_ROWS = 1000
# Parquet is read in the caller's thread alone: pyarrow's own can abort the process when it ends soon after (seen with
# pyarrow 26).
IN_THREADS = False

Record = TypeVar("Record")


class DamagedPart(StoreError):
    """A part's file is not what was written."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One finished part: its file's name without suffix, its rows, and the SHA-256 of its records' file.

    `census` counts what the records are made of (turns, calls, reflections), as the stage wrote it into the file.
    """

    name: str
    rows: int
    rejected: dict[str, int]
    census: dict[str, int]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The parts of a dataset of one source; `key` is the fingerprint of everything that decided them.

    `made_from` is the fingerprint of the dataset that it stands on; None for samples, and where nobody wrote it down.
    """

    dataset: DatasetName
    source: SourceName
    key: str
    parts: tuple[Part, ...]
    made_from: str | None = None

    @property
    def rows(self) -> int:
        """The number of records in all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def rejected(self) -> Counter[str]:
        """The number of rejections by reason, of this stage only."""
        return sum((Counter(part.rejected) for part in self.parts), Counter())

    @property
    def census(self) -> Counter[str]:
        """What all records are made of."""
        return sum((Counter(part.census) for part in self.parts), Counter())

    @property
    def fingerprint(self) -> str:
        """What the dataset holds: equal for equal content, whatever built it."""
        return hashlib.sha256("\n".join(part.sha256 for part in self.parts).encode()).hexdigest()[:16]

    def is_made_from(self, below: "Manifest") -> bool:
        """Say whether this was made from that state of what it stands on, as far as it was written down."""
        return self.made_from in (None, below.fingerprint)


_MANIFEST = TypeAdapter(Manifest)
_CENSUS = TypeAdapter(dict[str, int])
CENSUS_KEY = b"mmat.census"
# In the rejections' file, which is written first: the SHA-256 of the records' file.
RECORDS_KEY = b"mmat.records.sha256"


def folder(dataset: DatasetName, source: SourceName) -> str:
    """Return the key prefix of a dataset of one source."""
    return f"{dataset}/{source}"


def read_manifest(store: Store, dataset: DatasetName, source: SourceName) -> Manifest | None:
    """Return the manifest, or None where the dataset was never finished, or the manifest is damaged."""
    key = f"{folder(dataset, source)}/manifest.json"
    if not store.exists(key):
        return None
    try:
        return _MANIFEST.validate_json(store.read(key))
    except ValidationError:
        return None


def publish(store: Store, manifest: Manifest) -> None:
    """Make `manifest` the dataset's state, then remove the parts of earlier states."""
    prefix = folder(manifest.dataset, manifest.source)
    store.write(f"{prefix}/manifest.json", _MANIFEST.dump_json(manifest, indent=1))
    current = {f"{prefix}/{part.name}" for part in manifest.parts}
    for key in store.list_keys(prefix):
        if key.endswith(".parquet") and key.removesuffix(".parquet").removesuffix(".rejected") not in current:
            store.delete(key)


def read_part(
    store: Store, prefix: str, name: str, record: type[Record], sha256: str | None = None
) -> Iterator[Record]:
    """Yield the records of one part; raise DamagedPart where it is not of `sha256`, before the first one."""
    key = f"{prefix}/{name}.parquet"
    with _open_part(store.read(key), key, sha256) as file:
        yield from from_batches(_batches(file, key), record)


def read_rejections(store: Store, prefix: str, name: str) -> list[Rejection]:
    """Return the rejections of one part."""
    return from_table(_read_table(store, f"{prefix}/{name}.rejected.parquet"), Rejection)


def read_records(store: Store, manifest: Manifest, record: type[Record]) -> Iterator[Record]:
    """Yield the records of a dataset, part by part."""
    for part in manifest.parts:
        yield from read_part(store, folder(manifest.dataset, manifest.source), part.name, record, part.sha256)


def read_tables(store: Store, manifest: Manifest, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the records of a dataset as Arrow tables, one per part; of the `columns` alone where they are named."""
    for part in manifest.parts:
        key = f"{folder(manifest.dataset, manifest.source)}/{part.name}.parquet"
        yield _read_table(store, key, columns, part.sha256)


def read_rejected(store: Store, manifest: Manifest) -> Iterator[Rejection]:
    """Yield the rejections of a dataset, part by part."""
    for part in manifest.parts:
        yield from read_rejections(store, folder(manifest.dataset, manifest.source), part.name)


def finished_part(store: Store, prefix: str, name: str) -> Part | None:
    """Return the part if an earlier run finished it, and its files are as that run wrote them."""
    key = f"{prefix}/{name}.parquet"
    if not store.exists(key):
        return None
    data = store.read(key)
    try:
        lost = _read_table(store, f"{prefix}/{name}.rejected.parquet")
        footer = _open_part(data, key).metadata
    except DamagedPart:
        return None
    census = _CENSUS.validate_json((footer.metadata or {}).get(CENSUS_KEY, b"{}"))
    part = _part(name, footer.num_rows, Counter(map(str, lost.column("reason").to_pylist())), census, data)
    written = (lost.schema.metadata or {}).get(RECORDS_KEY, part.sha256.encode())
    return part if written == part.sha256.encode() else None


class PartDraft(Generic[Record]):
    """A part while it is being made: the newest records, and the others as the row groups of its file.

    `facets` names what a record is made of, for the part's census.
    """

    def __init__(self, record: type[Record], facets: Callable[[Record], Iterable[str]]) -> None:
        self._record, self._facets = record, facets
        self._file = io.BytesIO()
        self._writer = pq.ParquetWriter(self._file, arrow_schema(record), compression="zstd")
        self._newest: list[Record] = []
        self._rows = 0
        self._lost: list[Rejection] = []
        self._census: Counter[str] = Counter()

    def add(self, result: Record | Rejection) -> None:
        """Take what is to be kept, or the reason why it is not."""
        if isinstance(result, Rejection):
            self._lost.append(result)
            return
        self._census.update(self._facets(result))
        self._newest.append(result)
        self._rows += 1
        if len(self._newest) == GROUP_ROWS:
            self._write_newest()

    def write(self, store: Store, key: str, counted: Mapping[str, int] = MappingProxyType({})) -> Part:
        """Write the part, its census with what else was `counted`.

        The records' file comes last, so that a part is finished when it is there.
        """
        if self._newest:
            self._write_newest()
        census = dict(sorted((self._census + Counter(counted)).items()))
        self._writer.add_key_value_metadata({CENSUS_KEY.decode(): _CENSUS.dump_json(census).decode()})
        self._writer.close()
        data = self._file.getvalue()
        part = _part(key.rpartition("/")[2], self._rows, Counter(item.reason for item in self._lost), census, data)
        told = to_table(self._lost, Rejection).replace_schema_metadata({RECORDS_KEY: part.sha256.encode()})
        store.write(f"{key}.rejected.parquet", _parquet(told))
        store.write(f"{key}.parquet", data)
        return part

    def _write_newest(self) -> None:
        self._writer.write_table(to_table(self._newest, self._record))
        self._newest.clear()


def _part(name: str, rows: int, rejected: Counter[str], census: dict[str, int], data: bytes) -> Part:
    sha256 = hashlib.sha256(data).hexdigest()
    return Part(name=name, rows=rows, rejected=dict(sorted(rejected.items())), census=census, sha256=sha256)


def _read_table(store: Store, key: str, columns: Sequence[str] | None = None, sha256: str | None = None) -> pa.Table:
    with _open_part(store.read(key), key, sha256) as file, _telling_damage(key):
        return file.read(columns=None if columns is None else list(columns), use_threads=IN_THREADS)


def _batches(file: pq.ParquetFile, key: str) -> Iterator[pa.RecordBatch]:
    with _telling_damage(key):
        yield from file.iter_batches(AT_ONCE, use_threads=IN_THREADS)


def _open_part(data: bytes, key: str, sha256: str | None = None) -> pq.ParquetFile:
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise _damaged(key, "its SHA-256 is not the one that its manifest names")
    with _telling_damage(key):
        return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)


@contextmanager
def _telling_damage(key: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise _damaged(key, str(error)) from None


def _damaged(key: str, why: str) -> DamagedPart:
    manifest = f"{key.rpartition('/')[0]}/manifest.json"
    return DamagedPart(
        f"{key} of the store is damaged: {why.strip()}. Remove it and {manifest}, and run again: only this part is "
        "made anew, from the reply ledger where a model was asked"
    )


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
