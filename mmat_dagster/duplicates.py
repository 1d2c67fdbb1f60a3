"""What a source has asked already: ids, and the same question about the same images.

Kept in a temporary database on disk, so that memory does not grow with the source; SQLite deletes it when it is closed.
"""

import hashlib
import sqlite3
from collections.abc import Iterable

from mmat_dagster.questions import normalise_question
from mmat_dagster.schema import ImageRef, Sample

# Pages that SQLite keeps in memory, in KiB.
CACHE_KIB = 8192


class Seen:
    """Remembers who had a key first."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._database.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID")

    def first(self, key: str, record_id: str) -> str | None:
        """Return the id of the record that had `key` before; None, and remember this one, where none had."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        put = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, record_id))
        if put.rowcount:
            return None
        return str(self._database.execute("SELECT id FROM seen WHERE key = ?", (digest,)).fetchone()[0])

    def close(self) -> None:
        """Forget everything."""
        self._database.close()


def id_key(record_id: str) -> str:
    """Return the key under which an id is seen."""
    return f"id {record_id}"


def question_key(sample: Sample) -> str:
    """Return the key that two samples share when they ask the same of the same images, with the same choices."""
    choices = sorted(map(normalise_question, sample.choices))
    asked = "\n".join([normalise_question(sample.bare_question), *choices])
    return f"question {_content(sample.images)} {asked}"


def _content(images: Iterable[ImageRef]) -> str:
    return " ".join(image.sha256 for image in images)
