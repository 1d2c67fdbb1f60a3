"""What is asked of the index: pages of dialogues, counts, images; and that it is filled when it should be."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmat_dagster.processes import without_secrets
from mmat_dagster.schema import ImageRef, SourceName
from mmat_dagster.viewer.entries import Entry
from mmat_dagster.viewer.index import indexed, reading
from mmat_dagster.viewer.indexing import parts_of
from mmat_dagster.viewer.library import Library
from mmat_dagster.viewer.wanted import Wanted, search_expression

REFLECTED = "any"
# A builder that could not do its work is not started over and over.
RETRY_S = 30.0
_COLUMNS = """d.place, d.id, d.source, d.part, d.licence, d.question, d.answer, d.operators, d.turns, d.reflection,
    d.teacher, d.sha256, p.home, p.path, p.width, p.height, d.image_count, d.score"""


@dataclass(frozen=True, kw_only=True)
class Facet:
    """A value that can be filtered by, and how many dialogues have it; `source` where it is of one source only."""

    value: str
    source: str
    dialogues: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many dialogues are in the index, of how many."""

    done: int
    total: int

    @property
    def is_complete(self) -> bool:
        """Say whether all are."""
        return self.done == self.total


class Catalogue:
    """Asks the index in `file`; may be used by several threads."""

    def __init__(self, library: Library, file: Path) -> None:
        self._library = library
        self._file = file
        self._builder: subprocess.Popen[bytes] | None = None
        self._started_at = -RETRY_S
        self._lock = threading.Lock()

    def progress(self) -> Progress:
        """Return how far the index is; where it lacks something, see to it that it is filled."""
        should = {place.number: (part.name, audit, part.rows) for place, part, audit in parts_of(self._library)}
        held = indexed(self._file)
        if held != should:
            self._start_builder()
        done = sum(part[2] for at, part in held.items() if should.get(at) == part)
        return Progress(done=done, total=sum(part[2] for part in should.values()))

    def close(self) -> None:
        """End the process that fills the index; what it has done stays."""
        with self._lock:
            if self._builder is not None:
                self._builder.kill()
                self._builder.wait()

    def after(self, wanted: Wanted, number: int, count: int) -> list[Entry]:
        """Return the first `count` dialogues behind the place `number`."""
        return self._page(wanted, "{place} > ?", number, "{place}", count)

    def before(self, wanted: Wanted, number: int, count: int) -> list[Entry]:
        """Return the last `count` dialogues before the place `number`, in their order."""
        return self._page(wanted, "{place} < ?", number, "{place} DESC", count)[::-1]

    def count(self, wanted: Wanted) -> int:
        """Return how many dialogues there are."""
        return self._count(wanted, "1 = ?", 1)

    def rank(self, wanted: Wanted, number: int) -> int:
        """Return how many of them stand before the place `number`."""
        return self._count(wanted, "{place} < ?", number)

    def find(self, record_id: str) -> int | None:
        """Return the place of a dialogue."""
        rows = self._rows("SELECT place FROM dialogues WHERE id = ?", [record_id])
        return rows[0][0] if rows else None

    def picture(self, sha256: str) -> tuple[SourceName, ImageRef] | None:
        """Return where the image of a SHA-256 lies."""
        rows = self._rows("SELECT source, home, path, width, height FROM pictures WHERE sha256 = ?", [sha256])
        if not rows:
            return None
        source, home, path, width, height = rows[0]
        return source, ImageRef(home=home, path=path, sha256=sha256, width=width, height=height)

    def facets(self, kind: str) -> list[Facet]:
        """Return the values of a kind (part, operator, reflection, teacher, score), with how many have each."""
        rows = self._rows(
            "SELECT value, source, dialogues FROM facets WHERE kind = ? ORDER BY source, dialogues DESC, value", [kind]
        )
        return [Facet(value=value, source=source, dialogues=count) for value, source, count in rows]

    def _page(self, wanted: Wanted, bound: str, number: int, order: str, count: int) -> list[Entry]:
        asked = _question(wanted)
        if asked is None:
            return []
        # The page's places first: what is shown of them is looked up for these few alone.
        places = (
            f"SELECT {asked.place} AS place FROM {asked.tables} WHERE {asked.where}"  # noqa: S608  names of ours, no text
            f" AND {bound.format(place=asked.place)} ORDER BY {order.format(place=asked.place)} LIMIT ?"
        )
        statement = (
            f"SELECT {_COLUMNS} FROM ({places}) chosen JOIN dialogues d ON d.place = chosen.place"  # noqa: S608
            f" LEFT JOIN pictures p ON p.sha256 = d.sha256 ORDER BY {order.format(place='d.place')}"
        )
        return [_entry(row) for row in self._rows(statement, [*asked.values, number, count])]

    def _count(self, wanted: Wanted, bound: str, number: int) -> int:
        asked = _question(wanted)
        if asked is None:
            return 0
        statement = f"SELECT count(*) FROM {asked.tables} WHERE {asked.where} AND {bound.format(place=asked.place)}"  # noqa: S608
        rows = self._rows(statement, [*asked.values, number])
        return int(rows[0][0]) if rows else 0

    def _rows(self, statement: str, values: Sequence[str | float]) -> list[tuple[Any, ...]]:
        with reading(self._file) as connection:
            if connection is None:
                return []
            try:
                return connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError:  # it is just being made anew
                return []

    def _start_builder(self) -> None:
        with self._lock:
            is_running = self._builder is not None and self._builder.poll() is None
            if is_running or time.monotonic() - self._started_at < RETRY_S:
                return
            self._started_at = time.monotonic()
            root = self._library.store.locate("")
            command = [sys.executable, "-m", "mmat_dagster.viewer.indexing", root, str(self._file)]
            self._builder = subprocess.Popen(  # noqa: S603
                command, env=without_secrets(os.environ), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A filter as SQL: `place` is the column that the index walks along."""

    place: str
    tables: str
    where: str
    values: list[str | float]


def _question(wanted: Wanted) -> _Question | None:
    """Return a filter as SQL; None where nothing can match: words without a letter or digit."""
    terms = search_expression(wanted.words)
    if wanted.words and not terms:
        return None
    conditions = list(_conditions(wanted))
    needs_row = bool(conditions)
    walked = "w.rowid" if terms else "c.place" if wanted.operator else "d.place"
    tables = [
        *(["words w"] if terms else []),
        *(["calls c"] if wanted.operator else []),
        *(["dialogues d"] if needs_row or not (terms or wanted.operator) else []),
    ]
    places = {"words w": "w.rowid", "calls c": "c.place", "dialogues d": "d.place"}
    joined = [(f"{places[name]} = {walked}", None) for name in tables if places[name] != walked]
    matched = [("words MATCH ?", terms)] if terms else []
    called = [("c.operator = ?", wanted.operator)] if wanted.operator else []
    every = [*matched, *called, *joined, *conditions]
    return _Question(
        place=walked,
        tables=" CROSS JOIN ".join(tables),  # in this order: SQLite would else begin with whatever it thinks is rare
        where=" AND ".join([text for text, _ in every] or ["1"]),
        values=[value for _, value in every if value is not None],
    )


def _conditions(wanted: Wanted) -> Iterable[tuple[str, str | float]]:
    if wanted.source:
        yield "d.source = ?", wanted.source
    if wanted.part:
        yield "d.part = ?", wanted.part
    if wanted.teacher:
        yield "d.teacher = ?", wanted.teacher
    if wanted.reflection == REFLECTED:
        yield "d.reflection <> ?", "none"
    elif wanted.reflection:
        yield "d.reflection = ?", wanted.reflection
    if wanted.min_score is not None:
        yield "+d.score >= ?", wanted.min_score  # the plus: walk along the places, rather than sort by score
    if wanted.max_score is not None:
        yield "+d.score <= ?", wanted.max_score


def _entry(row: tuple[Any, ...]) -> Entry:
    told = dict(zip(_NAMES, row, strict=True))
    where = {name: told.pop(name) for name in ("sha256", "home", "path", "width", "height")}
    image = ImageRef(**where) if where["path"] is not None else None
    return Entry(**{**told, "operators": tuple(told["operators"].split())}, image=image)


_NAMES = (
    "place id source part licence question answer operators turns reflection teacher sha256 home path width height "
    "image_count score"
).split()
