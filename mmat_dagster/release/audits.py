"""The scores of the dataset `dialogue_audit`, where it is there: one record a dialogue, by the dialogue's id.

dialogue_audit/<source>/manifest.json   as every dataset has it
columns                                 id, score (0.0..1.0), judge ("checks", or a chat model's name), ...
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import Store
from mmat_dagster.release.columns import Column, pc
from mmat_dagster.schema import SourceName

DATASET = "dialogue_audit"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The audit of one source's dialogues: the keys of its parts."""

    keys: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What an audit says of dialogues, by their ids."""

    table: pa.Table

    def of(self, ids: Column) -> Column:
        """Return the score of each dialogue; null for those that were not judged."""
        if not len(self.table):
            return pa.nulls(len(ids), pa.float64())
        found = pc.index_in(ids, value_set=self.table["id"])
        return self.table["score"].combine_chunks().take(found).cast(pa.float64())

    @property
    def judges(self) -> tuple[str, ...]:
        """Who has judged."""
        return tuple(sorted(map(str, self.table["judge"].unique().to_pylist())))


class _Part(BaseModel):
    name: str
    sha256: str


class _Manifest(BaseModel):
    parts: list[_Part]


NO_SCORES = Scores(table=pa.table({"id": pa.array([], pa.string()), "score": pa.array([], pa.float64()), "judge": []}))


def find_audit(store: Store, source: SourceName) -> Audit | None:
    """Return the audit of a source's dialogues, or None where there is none."""
    prefix = f"{DATASET}/{source}"
    if not store.exists(f"{prefix}/manifest.json"):
        return None
    parts = _Manifest.model_validate_json(store.read(f"{prefix}/manifest.json")).parts
    return Audit(
        keys=tuple(f"{prefix}/{part.name}.parquet" for part in parts),
        fingerprint=fingerprint(part.sha256 for part in parts),
    )


def read_scores(store: Store, audit: Audit | None) -> Scores:
    """Return all scores of an audit: a few bytes a dialogue."""
    if audit is None or not audit.keys:
        return NO_SCORES
    return Scores(table=pa.concat_tables([_read(store, key) for key in audit.keys]))


def _read(store: Store, key: str, columns: Sequence[str] = ("id", "score", "judge")) -> pa.Table:
    with pq.ParquetFile(pa.BufferReader(store.read(key)), pre_buffer=False) as file:
        return file.read(columns=list(columns), use_threads=False)
