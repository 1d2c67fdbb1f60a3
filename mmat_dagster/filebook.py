"""What is known of files, so that nothing is hashed or decoded twice: a cache, which can be deleted.

    path, time of change and size -> SHA-256        a file that did not change is not read again
    SHA-256 -> a sound image's size and format, or what is wrong with it

An SQLite file. One thread uses a book; other processes may use the same file.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mmat_dagster.interfaces import StoreError

# A file that changed so short a time ago may change once more within one tick of the file system's clock.
SETTLED_S = 2.0
# So many entries are written in one transaction, which nobody waits for long.
FLUSH_AT = 256
WAIT_S = 60.0

_TABLES = """
CREATE TABLE IF NOT EXISTS file (
    folder TEXT, name TEXT, modified_ns INTEGER, size INTEGER, sha256 BLOB, PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS image (
    sha256 BLOB PRIMARY KEY, version TEXT, is_decoded INTEGER, width INTEGER, height INTEGER, suffix TEXT,
    likeness BLOB, problem TEXT
) WITHOUT ROWID;
"""
_PUT_FILE = "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)"
_PUT_IMAGE = "INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """By what a file is known to be unchanged."""

    modified_ns: int
    size: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return the stamp of a file."""
        return cls(modified_ns=status.st_mtime_ns, size=status.st_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEntry:
    """What was found out about an image: its upright size and format, or its `problem`."""

    version: str
    is_decoded: bool
    width: int = 0
    height: int = 0
    suffix: str = ""
    likeness: bytes | None = None
    problem: str | None = None


class FileBook:
    """One process's use of the book at `path`, which is made where it is not there and made anew where it is broken."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = _open(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # not a database: whatever wrote it, it is a cache
            path.unlink()
            self._database = _open(path)
        self._files: list[tuple[object, ...]] = []
        self._images: list[tuple[object, ...]] = []

    def hashes(self, folder: Path) -> Mapping[str, tuple[Stamp, str]]:
        """Return what is known of the files of a folder, by name; those of its sub-folders are not among them."""
        rows = self._database.execute(
            "SELECT name, modified_ns, size, sha256 FROM file WHERE folder = ?", (str(folder),)
        )
        return {name: (Stamp(modified_ns=modified, size=size), sha.hex()) for name, modified, size, sha in rows}

    def find_hash(self, path: Path, stamp: Stamp) -> str | None:
        """Return the SHA-256 of a file that has not changed since it was put here."""
        query = "SELECT sha256 FROM file WHERE folder = ? AND name = ? AND modified_ns = ? AND size = ?"
        asked = (str(path.parent), path.name, stamp.modified_ns, stamp.size)
        row = self._database.execute(query, asked).fetchone()
        return row[0].hex() if row else None

    def put_hash(self, path: Path, stamp: Stamp, sha256: str) -> None:
        """Remember a file's SHA-256, unless the file changed a moment ago."""
        if time.time_ns() - stamp.modified_ns > SETTLED_S * 1e9:
            entry = (str(path.parent), path.name, stamp.modified_ns, stamp.size, bytes.fromhex(sha256))
            self._files.append(entry)
            self._flush_where_full()

    def find_image(self, sha256: str) -> ImageEntry | None:
        """Return what was found out about an image."""
        row = self._database.execute("SELECT * FROM image WHERE sha256 = ?", (bytes.fromhex(sha256),)).fetchone()
        if row is None:
            return None
        version, is_decoded, width, height, suffix, likeness, problem = row[1:]
        return ImageEntry(
            version=version,
            is_decoded=bool(is_decoded),
            width=width,
            height=height,
            suffix=suffix,
            likeness=likeness,
            problem=problem,
        )

    def put_image(self, sha256: str, entry: ImageEntry) -> None:
        """Remember what was found out about an image."""
        found = (
            entry.version,
            entry.is_decoded,
            entry.width,
            entry.height,
            entry.suffix,
            entry.likeness,
            entry.problem,
        )
        self._images.append((bytes.fromhex(sha256), *found))
        self._flush_where_full()

    def flush(self) -> None:
        """Write what is waiting."""
        with suppress(sqlite3.OperationalError), self._database:  # a full disk or a busy file costs time only
            self._database.executemany(_PUT_FILE, self._files)
            self._database.executemany(_PUT_IMAGE, self._images)
        self._files.clear()
        self._images.clear()

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self.flush()
        self._database.close()

    def _flush_where_full(self) -> None:
        if len(self._files) + len(self._images) >= FLUSH_AT:
            self.flush()


@contextmanager
def open_book(path: Path) -> Iterator[FileBook]:
    """Open the book at `path` for the time of a block; raise StoreError where that cannot be."""
    try:
        book = FileBook(path)
    except (OSError, sqlite3.OperationalError) as error:
        raise StoreError(
            f"{path} cannot be written ({error}). Set MMAT_STORE to a folder that you may write to."
        ) from error
    try:
        yield book
    finally:
        book.close()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path) -> sqlite3.Connection:
    # A part's images are examined by several threads, but one alone asks the book.
    database = sqlite3.connect(path, timeout=WAIT_S, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.executescript(_TABLES)
    return database
