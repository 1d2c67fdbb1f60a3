"""What each page tells, ready for its template."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args
from urllib.parse import urlencode

from mmat_dagster import wire
from mmat_dagster.interfaces import Store
from mmat_dagster.reading import ASPECTS
from mmat_dagster.schema import (
    Dialogue,
    DialogueAudit,
    IntegratedTranscript,
    OrrDialogue,
    Rationale,
    ReflectionKind,
    Rejection,
    SourceName,
)
from mmat_dagster.viewer.catalogue import REFLECTED, Catalogue, Facet
from mmat_dagster.viewer.entries import Entry
from mmat_dagster.viewer.library import DATASETS, Library, Lost
from mmat_dagster.viewer.places import LAST, SOURCES, Place, place_of
from mmat_dagster.viewer.replaying import Exchange
from mmat_dagster.viewer.shapes import Shape, shapes_of
from mmat_dagster.viewer.wanted import Wanted

PAGE = 50
LOST_PAGE = 100
RELEASE = "dataset_release"
REFLECTIONS: tuple[str, ...] = (REFLECTED, *get_args(ReflectionKind))

# What the ledger holds of a dialogue; None where the deployment's teacher asks no model.
FindExchanges = Callable[[Rationale], Sequence[Exchange] | None]


@dataclass(frozen=True, kw_only=True)
class Held:
    """A dataset of a source, for the start page."""

    dataset: str
    rows: int
    rejected: int
    parts: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of a list; addresses are None where there is no such page."""

    entries: Sequence[Entry]
    first: int
    total: int
    links: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Told:
    """A dialogue with all that stands beside it."""

    place: Place
    dialogue: Dialogue
    shapes: Sequence[Sequence[Shape]]
    orr: OrrDialogue | None
    integrated: IntegratedTranscript | None
    audit: DialogueAudit | None
    links: Mapping[str, str]

    @property
    def aspects(self) -> Mapping[str, float]:
        """The aspects that a model judged, by name."""
        judged = {name: getattr(self.audit, name, None) for name in ASPECTS}
        return {name: value for name, value in judged.items() if value is not None}


def held_by(library: Library) -> dict[SourceName, list[Held]]:
    """Return the datasets that a store holds, by source."""
    found = {source: list(_held(library, source)) for source in SOURCES}
    return {source: held for source, held in found.items() if held}


def release_of(store: Store) -> Mapping[str, str] | None:
    """Return what the manifest of the release tells, or None where there is no release."""
    key = f"{RELEASE}/manifest.json"
    if not store.exists(key):
        return None
    told = json.loads(store.read(key))
    plain = told.items() if isinstance(told, dict) else ()
    return {name: str(value) for name, value in plain if isinstance(value, str | int | float)}


def list_page(library: Library, catalogue: Catalogue, wanted: Wanted, bounds: Mapping[str, int]) -> Page:
    """Return the page of what is `wanted` behind the place `bounds["after"]` or before `bounds["before"]`.

    What nothing but a source filters is read from the parts, whatever the index has by now.
    """
    shelf = _Straight(library) if wanted == Wanted(source=wanted.source) else catalogue
    before = bounds.get("before")
    if before is not None:
        entries = shelf.before(wanted, before, PAGE)
    else:
        entries = shelf.after(wanted, bounds.get("after", -1), PAGE)
    total = shelf.count(wanted)
    rank = shelf.rank(wanted, entries[0].place) if entries else 0
    return Page(entries=entries, first=rank + 1, total=total, links=_page_links(wanted, entries, rank, total))


def dialogue_page(
    library: Library, catalogue: Catalogue, record_id: str, wanted: Wanted, near: int | None
) -> Told | None:
    """Return a dialogue and its neighbours in what is `wanted`; None where there is none of this id."""
    place = _find(library, catalogue, record_id, near)
    dialogue = library.dialogue(place) if place else None
    if place is None or dialogue is None or dialogue.id != record_id:
        return None
    orr = library.orr(place, record_id)
    return Told(
        place=place,
        dialogue=dialogue,
        shapes=shapes_of(dialogue),
        orr=orr,
        integrated=_integrated(orr),
        audit=library.audit(place, record_id),
        links=_neighbours(library, catalogue, wanted, place),
    )


def rationale_of(library: Library, told: Told) -> Rationale:
    """Return the rationale that a dialogue was made of; where it is gone, what the dialogue still has of it."""
    kept = library.rationale(told.place, told.dialogue.id)
    turns = tuple(turn for turn in told.dialogue.transcript.turns if turn.step.signal != "reflection")
    return kept or Rationale(sample=told.dialogue.sample, turns=turns, teacher=told.dialogue.teacher)


def lost_page(library: Library, lost: Lost, skip: int) -> tuple[list[Rejection], int]:
    """Return a page of rejections, and how many there are in all."""
    return library.lost(lost, skip, LOST_PAGE), library.count_lost(lost)


def dialogue_link(entry_id: str, place: int, wanted: Wanted) -> str:
    """Return the address of a dialogue within what is `wanted`."""
    return f"/dialogue?{urlencode({'id': entry_id, 'at': place, **wanted.query()})}"


def list_link(wanted: Wanted, **bounds: int) -> str:
    """Return the address of a list."""
    query = {**wanted.query(), **bounds}
    return f"/dialogues?{urlencode(query)}" if query else "/dialogues"


def moment(seconds: float) -> str:
    """Return a time as a person reads it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def choices(catalogue: Catalogue, library: Library) -> dict[str, list[Facet]]:
    """Return what can be filtered by, with how many dialogues have it."""
    found = {kind: catalogue.facets(kind) for kind in ("part", "operator", "teacher", "reflection", "score")}
    found["source"] = [
        Facet(value=manifest.source, source="", dialogues=manifest.rows) for manifest in library.manifests()
    ]
    return found


def indented(body: bytes) -> str:
    """Return a stored body as a person reads it."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except ValueError:
        return body.decode(errors="replace")


class _Straight:
    """The lists that the parts themselves can tell, in the form of the catalogue's."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def after(self, wanted: Wanted, number: int, count: int) -> list[Entry]:
        return self._library.after(number, wanted.source, count)

    def before(self, wanted: Wanted, number: int, count: int) -> list[Entry]:
        return self._library.before(number, wanted.source, count)

    def count(self, wanted: Wanted) -> int:
        return self._library.count(wanted.source)

    def rank(self, wanted: Wanted, number: int) -> int:
        return self._library.rank(number, wanted.source)


def _held(library: Library, source: SourceName) -> Iterator[Held]:
    for dataset in DATASETS:
        manifest = library.manifest(dataset, source)
        if manifest is not None:
            yield Held(
                dataset=dataset,
                rows=manifest.rows,
                rejected=manifest.rejected.total(),
                parts=len(manifest.parts),
                fingerprint=manifest.fingerprint,
            )


def _find(library: Library, catalogue: Catalogue, record_id: str, near: int | None) -> Place | None:
    """Return where a dialogue stands: where the address says, where the index says, or wherever it is found."""
    source = record_id.partition("/")[0]
    named = [each for each in SOURCES if each == source]
    indexed = catalogue.find(record_id) if near is None else near
    if indexed is not None and 0 <= indexed <= LAST and indexed >> 48 < len(SOURCES):
        found = library.find(place_of(indexed).source, record_id, indexed)
        if found is not None:
            return found
    return next((found for each in named or SOURCES if (found := library.find(each, record_id))), None)


def _integrated(orr: OrrDialogue | None) -> IntegratedTranscript | None:
    """Return what an ORR dialogue says; None where it is not in the wire form, and shown as it is."""
    if orr is None:
        return None
    try:
        return wire.parse_orr(orr.messages)
    except wire.WireError:
        return None


def _neighbours(library: Library, catalogue: Catalogue, wanted: Wanted, place: Place) -> dict[str, str]:
    shelf = _Straight(library) if wanted == Wanted(source=wanted.source) else catalogue
    before = shelf.before(wanted, place.number, 1)
    after = shelf.after(wanted, place.number, 1)
    return {
        name: dialogue_link(found[0].id, found[0].place, wanted)
        for name, found in (("previous", before), ("next", after))
        if found
    }


def _page_links(wanted: Wanted, entries: Sequence[Entry], rank: int, total: int) -> dict[str, str]:
    links: dict[str, str] = {}
    if not entries:
        return links
    if rank > 0:
        links["first"] = list_link(wanted)
        links["previous"] = list_link(wanted, before=entries[0].place) if rank > PAGE else links["first"]
    if rank + len(entries) < total:
        links["next"] = list_link(wanted, after=entries[-1].place)
        links["last"] = list_link(wanted, before=LAST)
    return links
