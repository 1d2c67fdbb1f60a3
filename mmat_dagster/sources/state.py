"""The state of a source folder: the manifest of its files by name, size and SHA-256, and their fingerprint.

It changes when a file comes, goes or changes, and only then: times and the folder's own place are no part of it. A file
is hashed once and looked up by its time of change and size afterwards, so to know that nothing changed costs a look at
each file's status. A glance is that look alone, and reads no file.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """What the status of a folder's files tells.

    `stamps` is the fingerprint of their names, sizes and times of change. `changed_at` is when a file came or went, or
    one changed that is hidden or whose hash is not known; `unread_bytes` is the size of the latter.
    """

    stamps: str
    changed_at: float
    unread_bytes: int

    def beside(self, other: "Glance") -> "Glance":
        """Return what both folders tell together."""
        return Glance(
            stamps=f"{self.stamps} {other.stamps}",
            changed_at=max(self.changed_at, other.changed_at),
            unread_bytes=self.unread_bytes + other.unread_bytes,
        )


def glance_at(folder: Path, book: FileBook) -> Glance:
    """Look at the status of all files below `folder`; raise SourceError where a folder may not be entered.

    A file's time of change is the kernel's own, since copying tools set the other one back. Hard links change it too,
    so that of files whose hash is known does not count.
    """
    digest = hashlib.sha256()
    changed_at, unread_bytes = 0.0, 0
    for directory in _directories(folder):
        # A file that comes, goes or is renamed changes its directory.
        changed_at = max(changed_at, directory.stat().st_ctime, _last_hidden_change(directory))
        known = book.hashes(directory)
        place = directory.relative_to(folder)
        for name, status in sorted(_statuses(directory), key=lambda file: file[0]):
            stamp = Stamp.of(status) if status is not None else None
            digest.update(f"{place / name} {stamp}\n".encode("utf-8", "surrogateescape"))
            if status is not None and known.get(name, (None, ""))[0] != stamp:
                changed_at = max(changed_at, status.st_ctime)
                unread_bytes += status.st_size
    return Glance(stamps=digest.hexdigest()[:16], changed_at=changed_at, unread_bytes=unread_bytes)


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


def _files(directory: Path) -> Iterator[tuple[str, Stamp | None]]:
    """Yield the files of a directory with their stamps; None for what is no regular file and is never opened."""
    for name, status in _statuses(directory):
        yield name, Stamp.of(status) if status is not None else None


def _statuses(directory: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield the files of a directory with their status; None for what is no regular file."""
    with _listed(directory) as entries:
        for entry in entries:
            if entry.name.startswith(HIDDEN) or entry.is_dir(follow_symlinks=False):
                continue
            with suppress(FileNotFoundError):  # gone since the directory was listed
                yield entry.name, _status(entry)


def _last_hidden_change(directory: Path) -> float:
    """Return when something hidden changed last: downloaders keep there what is not whole yet."""
    with _listed(directory) as entries:
        hidden = [Path(entry.path) for entry in entries if entry.name.startswith(HIDDEN)]
    last = 0.0
    for path in (each for place in hidden for each in (place, *place.rglob("*"))):
        with suppress(FileNotFoundError):
            last = max(last, path.lstat().st_ctime)
    return last


@contextmanager
def _listed(directory: Path) -> "Iterator[Iterable[os.DirEntry[str]]]":
    try:
        with os.scandir(directory) as entries:
            yield entries
    except PermissionError as error:
        raise SourceError(f"The folder {directory} may not be entered: {error.strerror}") from error


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        status = entry.stat()
    except OSError:
        if entry.is_symlink():  # leads nowhere, or in a circle
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


def _hash(directory: Path, name: str) -> str:
    try:
        return sha256_of(directory / name)
    except OSError as error:
        return f"{UNREADABLE}: {error.strerror}"


def _instead(path: Path) -> str:
    return f"link to {path.readlink()}" if path.is_symlink() else "no regular file"
