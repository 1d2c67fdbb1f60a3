"""Fills the index, part by part, in a process of its own: python -m mmat_dagster.viewer.indexing STORE FILE.

What it has is searched while the rest is still to come. New parts are added; where a part that it holds is no longer
in the store, it is made anew: a full-text index that keeps no text cannot forget.
"""

import fcntl
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmat_dagster.parts import Part
from mmat_dagster.processes import end_with_launcher
from mmat_dagster.schema import ReflectionKind
from mmat_dagster.viewer.entries import Entry, Words, entry_of, words_of
from mmat_dagster.viewer.folder import ReadOnlyFolder
from mmat_dagster.viewer.index import indexed, writing
from mmat_dagster.viewer.library import Library
from mmat_dagster.viewer.places import Place

NICENESS = 10
UNREFLECTED: ReflectionKind = "none"
_DIALOGUE = "INSERT OR REPLACE INTO dialogues VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_WORDS = "INSERT INTO words (rowid, question, thoughts, observations, answer) VALUES (?,?,?,?,?)"
_PICTURE = "INSERT OR IGNORE INTO pictures VALUES (?,?,?,?,?,?)"
_FACET = """INSERT INTO facets VALUES (?,?,?,?)
            ON CONFLICT (kind, value, source) DO UPDATE SET dialogues = dialogues + excluded.dialogues"""


def main(arguments: Sequence[str]) -> int:
    """Bring the index up to date, unless another process does; return the exit code."""
    store, file = map(Path, arguments)
    end_with_launcher()
    os.nice(NICENESS)
    fill(Library(ReadOnlyFolder(store)), file)
    return 0


def fill(library: Library, file: Path) -> None:
    """Bring the index up to date; nothing happens where another process is at it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file) as is_alone:
        if is_alone:
            _fill(library, file)


def parts_of(library: Library) -> Iterator[tuple[Place, Part, str]]:
    """Yield the parts that the index should hold: first place, part, and the name of the audit's part or nothing."""
    for manifest in library.manifests():
        audits = library.audits(manifest.source)
        for at, part in enumerate(manifest.parts):
            yield Place(manifest.source, at), part, audits[at].name if at < len(audits) else ""


def _fill(library: Library, file: Path) -> None:
    held = indexed(file)
    should = {place.number: (part.name, audit, part.rows) for place, part, audit in parts_of(library)}
    anew = not held or any(should.get(at) != part for at, part in held.items())
    with writing(file, anew=anew) as connection:
        for place, part, audit in parts_of(library):
            if anew or place.number not in held:
                _add(connection, library, place, part, audit)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _add(connection: sqlite3.Connection, library: Library, place: Place, part: Part, audit: str) -> None:
    scores = library.scores(place.source, place.part) if audit else {}
    rows = library.rows(place.source, part)
    entries = [entry_of(row, place.source, place.number + at, scores.get(row["id"])) for at, row in enumerate(rows)]
    pictures = {image["sha256"]: image for row in rows for image in row["images"]}
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(_DIALOGUE, map(_dialogue, entries))
    connection.executemany(_WORDS, (_searched(entry, words_of(row)) for entry, row in zip(entries, rows, strict=True)))
    connection.executemany("INSERT INTO calls VALUES (?,?)", _calls(entries))
    connection.executemany(
        _PICTURE,
        (
            (sha256, place.source, image["home"], image["path"], image["width"], image["height"])
            for sha256, image in pictures.items()
        ),
    )
    connection.executemany(_FACET, _facets(entries))
    connection.execute("INSERT INTO parts VALUES (?,?,?,?)", (place.number, part.name, audit, part.rows))
    connection.execute("COMMIT")


def _dialogue(entry: Entry) -> tuple[object, ...]:
    return (
        entry.place,
        entry.id,
        entry.source,
        entry.part,
        entry.licence,
        entry.question,
        entry.answer,
        " ".join(entry.operators),
        entry.turns,
        entry.reflection,
        entry.teacher,
        entry.image.sha256 if entry.image else None,
        entry.image_count,
        entry.score,
    )


def _searched(entry: Entry, words: Words) -> tuple[object, ...]:
    return (entry.place, words.question, words.thoughts, words.observations, words.answer)


def _calls(entries: Sequence[Entry]) -> Iterator[tuple[str, int]]:
    return ((operator, entry.place) for entry in entries for operator in entry.operators)


def _facets(entries: Sequence[Entry]) -> list[tuple[str, str, str, int]]:
    counts = Counter(facet for entry in entries for facet in _facets_of(entry))
    return [(*facet, count) for facet, count in counts.items()]


def _facets_of(entry: Entry) -> Iterator[tuple[str, str, str]]:
    yield "source", entry.source, ""
    yield "part", entry.part, entry.source
    yield "teacher", entry.teacher, ""
    yield from (("operator", operator, "") for operator in entry.operators)
    if entry.reflection != UNREFLECTED:
        yield "reflection", entry.reflection, ""
    if entry.score is not None:
        yield "score", "", ""


@contextmanager
def _alone(file: Path) -> Iterator[bool]:
    """Say whether no other process fills the index, and keep others from it during the block."""
    with file.with_name(f"{file.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
