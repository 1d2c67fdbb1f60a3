"""Dialogues, rejections and audits, from the parts that the manifests name: never more than a few parts at a time."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmat_dagster import parts
from mmat_dagster.interfaces import Store
from mmat_dagster.parts import Manifest, Part
from mmat_dagster.records import from_table
from mmat_dagster.schema import DatasetName, Dialogue, DialogueAudit, OrrDialogue, Rationale, Rejection, SourceName
from mmat_dagster.viewer.entries import LISTED, Entry, entry_of
from mmat_dagster.viewer.places import SOURCES, Place, place_of

DATASETS: tuple[DatasetName, ...] = get_args(DatasetName)
RR: DatasetName = "rr_dialogues"
AUDIT: DatasetName = "dialogue_audit"
# A part's name says what decided its content: what is kept of one never grows old.
KEPT_TABLES = 6

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Which rejections are looked at; None for all."""

    source: SourceName | None = None
    stage: DatasetName | None = None
    reason: str | None = None


class Library:
    """Reads a store; may be used by several threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._tables: OrderedDict[tuple[str, tuple[str, ...] | None], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def manifest(self, dataset: DatasetName, source: SourceName) -> Manifest | None:
        """Return the manifest of a dataset of a source, as it is now."""
        return parts.read_manifest(self.store, dataset, source)

    def manifests(self, dataset: DatasetName = RR) -> tuple[Manifest, ...]:
        """Return the manifests of a dataset, in the order of the sources."""
        found = (self.manifest(dataset, source) for source in SOURCES)
        return tuple(manifest for manifest in found if manifest is not None)

    def audits(self, source: SourceName) -> tuple[Part, ...]:
        """Return the parts of a source's audit."""
        audit = self._beside(AUDIT, source)
        return audit.parts if audit else ()

    def dialogue(self, place: Place) -> Dialogue | None:
        """Return the dialogue at `place`."""
        part = _part(self.manifest(RR, place.source), place)
        return None if part is None else self._record(RR, place.source, part, place.row, Dialogue)

    def find(self, source: SourceName, record_id: str, near: int | None = None) -> Place | None:
        """Return where the dialogue `record_id` stands; `near` is the number of the place where it is looked first."""
        manifest = self.manifest(RR, source)
        if manifest is None:
            return None
        first = place_of(near).part if near is not None else 0
        for at in sorted(range(len(manifest.parts)), key=lambda part: part != first):
            row = self._row_of(f"{parts.folder(RR, source)}/{manifest.parts[at].name}", record_id)
            if row is not None:
                return Place(source, at, row)
        return None

    def orr(self, place: Place, record_id: str) -> OrrDialogue | None:
        """Return the ORR dialogue of the RR dialogue that stands at `place`."""
        return self._sibling("orr_dialogues", place, record_id, OrrDialogue)

    def rationale(self, place: Place, record_id: str) -> Rationale | None:
        """Return the rationale of the RR dialogue that stands at `place`."""
        return self._sibling("rationales", place, record_id, Rationale)

    def audit(self, place: Place, record_id: str) -> DialogueAudit | None:
        """Return what the audit says of the RR dialogue that stands at `place`."""
        return self._sibling(AUDIT, place, record_id, DialogueAudit)

    def scores(self, source: SourceName, part: int) -> dict[str, float]:
        """Return the audit's scores of a part, by the dialogue's id."""
        audits = self.audits(source)
        if part >= len(audits):
            return {}
        table = self._table(f"{parts.folder(AUDIT, source)}/{audits[part].name}", ("id", "score"))
        return {row["id"]: row["score"] for row in table.to_pylist()}

    def rows(self, source: SourceName, part: Part, start: int = 0, count: int | None = None) -> list[dict[str, Any]]:
        """Return what lists and the index need of a part's dialogues."""
        rows: list[dict[str, Any]] = (
            self._table(f"{parts.folder(RR, source)}/{part.name}", LISTED).slice(start, count).to_pylist()
        )
        return rows

    def after(self, number: int, source: str, count: int) -> list[Entry]:
        """Return the first `count` dialogues behind the place `number`, of one source or (empty) of all."""
        found: list[Entry] = []
        for place, part in self._parts(source):
            behind = number - place.number + 1
            if behind < part.rows and len(found) < count:
                found += self._entries(place, part, max(0, behind), count - len(found))
        return found

    def before(self, number: int, source: str, count: int) -> list[Entry]:
        """Return the last `count` dialogues before the place `number`, in their order."""
        found: list[Entry] = []
        for place, part in reversed(list(self._parts(source))):
            stop = min(part.rows, number - place.number)
            if stop > 0 and len(found) < count:
                start = max(0, stop - (count - len(found)))
                found = self._entries(place, part, start, stop - start) + found
        return found

    def rank(self, number: int, source: str) -> int:
        """Return how many dialogues stand before the place `number`."""
        return sum(min(part.rows, max(0, number - place.number)) for place, part in self._parts(source))

    def count(self, source: str) -> int:
        """Return how many dialogues there are."""
        return sum(part.rows for _, part in self._parts(source))

    def count_lost(self, lost: Lost) -> int:
        """Return how many rejections `lost` asks for; manifests tell."""
        return sum(_counted(part, lost) for _, part in self._lost_parts(lost))

    def lost(self, lost: Lost, skip: int, count: int) -> list[Rejection]:
        """Return `count` rejections behind the first `skip`, in the order of sources and stages."""
        found: list[Rejection] = []
        for manifest, part in self._lost_parts(lost):
            held = _counted(part, lost)
            if skip < held and len(found) < count:
                key = f"{parts.folder(manifest.dataset, manifest.source)}/{part.name}.rejected"
                table = self._table(key)
                chosen = (
                    table if lost.reason is None else table.filter(pc.equal(table["reason"], pa.scalar(lost.reason)))
                )
                found += from_table(chosen.slice(skip, count - len(found)), Rejection)
            skip = max(0, skip - held)
        return found

    def reasons(self, lost: Lost) -> dict[str, int]:
        """Return how often each reason occurs among what `lost` asks for, whatever reason that names."""
        counts: dict[str, int] = {}
        for _, part in self._lost_parts(lost):
            for reason, count in part.rejected.items():
                counts[reason] = counts.get(reason, 0) + count
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def _lost_parts(self, lost: Lost) -> Iterator[tuple[Manifest, Part]]:
        for source in SOURCES if lost.source is None else (lost.source,):
            for stage in DATASETS if lost.stage is None else (lost.stage,):
                manifest = self.manifest(stage, source)
                for part in manifest.parts if manifest else ():
                    yield manifest, part  # type: ignore[misc]

    def _parts(self, source: str) -> Iterator[tuple[Place, Part]]:
        for manifest in self.manifests():
            if source in ("", manifest.source):
                for at, part in enumerate(manifest.parts):
                    yield Place(manifest.source, at), part

    def _beside(self, dataset: DatasetName, source: SourceName) -> Manifest | None:
        """Return a dataset that belongs to the RR dialogues that there are now: made from them, or they from it."""
        dialogues, other = self.manifest(RR, source), self.manifest(dataset, source)
        if dialogues is None or other is None:
            return None
        belongs = dialogues.is_made_from(other) if dataset == "rationales" else other.is_made_from(dialogues)
        return other if belongs else None

    def _entries(self, place: Place, part: Part, start: int, count: int) -> list[Entry]:
        scores = self.scores(place.source, place.part)
        rows = self.rows(place.source, part, start, count)
        return [
            entry_of(row, place.source, place.number + start + at, scores.get(row["id"])) for at, row in enumerate(rows)
        ]

    def _sibling(self, dataset: DatasetName, place: Place, record_id: str, record: type[Record]) -> Record | None:
        """Return the record of the same id in a dataset whose parts are made of the same parts."""
        part = _part(self._beside(dataset, place.source), place)
        if part is None:
            return None
        column = "sample.id" if dataset == "rationales" else "id"
        row = self._row_of(f"{parts.folder(dataset, place.source)}/{part.name}", record_id, column)
        return None if row is None else self._record(dataset, place.source, part, row, record)

    def _record(
        self, dataset: DatasetName, source: SourceName, part: Part, row: int, record: type[Record]
    ) -> Record | None:
        table = self._table(f"{parts.folder(dataset, source)}/{part.name}").slice(row, 1)
        return from_table(table, record)[0] if table.num_rows else None

    def _row_of(self, key: str, record_id: str, column: str = "id") -> int | None:
        ids = self._table(key, (column,)).flatten().column(0)
        row = pc.index(ids, record_id).as_py()
        return row if row >= 0 else None

    def _table(self, key: str, columns: Sequence[str] | None = None) -> pa.Table:
        name = (key, tuple(columns) if columns else None)
        with self._lock:
            if name in self._tables:
                self._tables.move_to_end(name)
                return self._tables[name]
        table = self._read(f"{key}.parquet", columns)
        with self._lock:
            self._tables[name] = table
            while len(self._tables) > KEPT_TABLES:
                self._tables.popitem(last=False)
        return table

    def _read(self, key: str, columns: Sequence[str] | None) -> pa.Table:
        # In this thread alone: pyarrow's own threads can abort the process when it ends soon after.
        with pq.ParquetFile(pa.BufferReader(self.store.read(key)), pre_buffer=False) as file:
            return file.read(columns=list(columns) if columns else None, use_threads=False)


def _counted(part: Part, lost: Lost) -> int:
    return sum(part.rejected.values()) if lost.reason is None else part.rejected.get(lost.reason, 0)


def _part(manifest: Manifest | None, place: Place) -> Part | None:
    return manifest.parts[place.part] if manifest is not None and place.part < len(manifest.parts) else None
