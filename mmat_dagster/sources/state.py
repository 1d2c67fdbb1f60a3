"""The state of a source folder: the manifest of its files by name, size and SHA-256, and their fingerprint.

It changes when a file comes, goes or changes, and only then: times and the folder's own place are no part of it. A file
is hashed once and looked up by its time of change and size afterwards, so to know that nothing changed costs a look at
each file's status.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmat_dagster.fanout import map_in_threads
from mmat_dagster.filebook import FileBook, Stamp, sha256_of
from mmat_dagster.sources.layout import SourceError

# Downloaders and file browsers keep their own things in hidden files.
HIDDEN = "."
UNREADABLE = "unreadable"
# So many files are hashed between two reports.
TELL_EVERY = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class FileState:
    """One file of a source: `name` is relative to its folder; `content` its SHA-256, or what stands there instead."""

    name: str
    size: int
    content: str


def source_state(folder: Path, book: FileBook, workers: int = 1, tell: Callable[[int], None] = lambda _: None) -> str:
    """Return the fingerprint of all files below `folder`; `tell` hears every now and then how many were looked at.

    Raises SourceError where a folder may not be entered.
    """
    digest = hashlib.sha256()
    number = 0
    for number, state in enumerate(read_states(folder, book, workers), start=1):
        name = state.name.encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s %d %s\n" % (len(name), name, state.size, state.content.encode()))
        if number % TELL_EVERY == 0:
            tell(number)
    tell(number)
    return digest.hexdigest()[:16]


def read_states(folder: Path, book: FileBook, workers: int = 1) -> Iterator[FileState]:
    """Yield the manifest of `folder`, one directory after the other, each sorted by name."""
    for directory in _directories(folder):
        yield from _states(directory, directory.relative_to(folder), book, workers)


def _directories(folder: Path) -> Iterator[Path]:
    """Yield `folder` and the directories below it; links are not followed, so there is an end to it."""
    yield folder
    with _listed(folder) as entries:
        below = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in below:
        if not name.startswith(HIDDEN):
            yield from _directories(folder / name)


def _states(directory: Path, place: Path, book: FileBook, workers: int) -> Iterator[FileState]:
    known = book.hashes(directory)
    files = sorted(_files(directory), key=lambda file: file[0])
    unknown = (name for name, stamp in files if stamp is not None and known.get(name, (None, ""))[0] != stamp)
    fresh = map_in_threads(partial(_hash, directory), unknown, workers)
    for name, stamp in files:
        content = _instead(directory / name) if stamp is None else ""
        if stamp is not None and name in known and known[name][0] == stamp:
            content = known[name][1]
        elif stamp is not None:
            content = next(fresh)
            if not content.startswith(UNREADABLE):
                book.put_hash(directory / name, stamp, content)
        yield FileState(name=(place / name).as_posix(), size=stamp.size if stamp else 0, content=content)


def _files(directory: Path) -> Iterable[tuple[str, Stamp | None]]:
    """Return the files of a directory with their stamps; None for what is no regular file and is never opened."""
    found: list[tuple[str, Stamp | None]] = []
    with _listed(directory) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN) or entry.is_dir(follow_symlinks=False):
                continue
            with suppress(FileNotFoundError):  # gone since the directory was listed
                found.append((entry.name, _stamp(entry)))
    return found


@contextmanager
def _listed(directory: Path) -> "Iterator[Iterable[os.DirEntry[str]]]":
    try:
        with os.scandir(directory) as entries:
            yield entries
    except PermissionError as error:
        raise SourceError(f"The folder {directory} may not be entered: {error.strerror}") from error


def _stamp(entry: "os.DirEntry[str]") -> Stamp | None:
    try:
        status = entry.stat()
    except OSError:
        if entry.is_symlink():  # leads nowhere, or in a circle
            return None
        raise
    return Stamp.of(status) if stat.S_ISREG(status.st_mode) else None


def _hash(directory: Path, name: str) -> str:
    try:
        return sha256_of(directory / name)
    except OSError as error:
        return f"{UNREADABLE}: {error.strerror}"


def _instead(path: Path) -> str:
    return f"link to {path.readlink()}" if path.is_symlink() else "no regular file"
