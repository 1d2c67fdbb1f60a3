"""The index of a store's RR dialogues: one SQLite file, with full-text search, in the user's cache folder.

parts       the parts that are in it, by the number of their first place
dialogues   what a list shows, by place
calls       who calls what, by operator and place
pictures    where the image of a SHA-256 lies
facets      how many dialogues there are of each source, part, operator, ...
words       what is searched; it holds no text, only where words stand
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Counts up when the tables come to mean something else.
VERSION = 1
SCHEMA = f"""
PRAGMA user_version = {VERSION};
CREATE TABLE parts (at INTEGER PRIMARY KEY, name TEXT NOT NULL, audit TEXT NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE dialogues (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL, source TEXT NOT NULL, part TEXT NOT NULL, licence TEXT NOT NULL,
    question TEXT NOT NULL, answer TEXT NOT NULL, operators TEXT NOT NULL, turns INTEGER NOT NULL,
    reflection TEXT NOT NULL, teacher TEXT NOT NULL, sha256 TEXT, image_count INTEGER NOT NULL, score REAL
);
CREATE INDEX dialogues_id ON dialogues (id);
CREATE INDEX dialogues_source ON dialogues (source);
CREATE INDEX dialogues_part ON dialogues (part);
CREATE INDEX dialogues_reflection ON dialogues (reflection);
CREATE INDEX dialogues_teacher ON dialogues (teacher);
CREATE TABLE calls (operator TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (operator, place)) WITHOUT ROWID;
CREATE TABLE pictures (
    sha256 TEXT PRIMARY KEY, source TEXT NOT NULL, home TEXT NOT NULL, path TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE facets (
    kind TEXT NOT NULL, value TEXT NOT NULL, source TEXT NOT NULL, dialogues INTEGER NOT NULL,
    PRIMARY KEY (kind, value, source)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (
    question, thoughts, observations, answer, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);
"""


def index_file(root: Path, cache: Path | None = None) -> Path:
    """Return where the index of the store at `root` lies."""
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache").expanduser() / "mmat_dagster"
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return folder / f"viewer-{name}.sqlite"


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection | None]:
    """Open an index for reading; None where there is none yet, or one of another version."""
    try:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        yield None
        return
    try:
        yield connection if _is_current(connection) else None
    finally:
        connection.close()


@contextmanager
def writing(file: Path, *, anew: bool) -> Iterator[sqlite3.Connection]:
    """Open an index for writing, an empty one where `anew`; what a crash loses of it is made again."""
    if anew:
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -65536")
        if anew:
            connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        yield connection
    finally:
        connection.close()


def indexed(file: Path) -> dict[int, tuple[str, str, int]]:
    """Return the parts that an index holds: by the number of their first place, name, audit's part and rows."""
    with reading(file) as connection:
        rows = [] if connection is None else connection.execute("SELECT at, name, audit, rows FROM parts").fetchall()
    return {at: (name, audit, count) for at, name, audit, count in rows}


def _is_current(connection: sqlite3.Connection) -> bool:
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError:  # damaged, or just about to be made
        return False
    return bool(version == VERSION)
