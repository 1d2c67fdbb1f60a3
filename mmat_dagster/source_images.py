"""The images of a source: found inside its folder, examined once, by as many threads as there are cores.

str | bytes -> begin -> Look -> end -> Examined | Unusable
"""

import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import PIL

from mmat_dagster.filebook import FileBook, ImageEntry, Stamp
from mmat_dagster.fingerprints import code_fingerprint, fingerprint
from mmat_dagster.images import Examination, Examined, UnreadableImage, examine_among_others, examine_header
from mmat_dagster.schema import RejectionReason

# No image of the sources comes near; a file is read into memory whole.
FILE_LIMIT = 1 << 30
# So many images that were looked at lately are remembered: neighbouring records often ask about the same one.
REMEMBERED = 256
# And so many folders: some layouts have one for each image.
FOLDERS = 1000


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """Why an image cannot be used; `sha256` is that of its bytes, where they could be read."""

    reason: RejectionReason
    detail: str
    sha256: str | None = None


Outcome: TypeAlias = Examined | Unusable
Coming: TypeAlias = "Future[Outcome] | Outcome"


@dataclass(frozen=True, kw_only=True)
class Look:
    """An image under examination; `is_first` where nobody looked at it before, `unhashed` a file that is new."""

    coming: Coming
    is_first: bool
    unhashed: tuple[Path, Stamp] | None = None


class ImageExaminer:
    """Examines the images of the source in `folder`; what the book knows is not decoded again.

    One thread begins and ends looks, inside `quiet_decoders`; those of `pool` decode, or the same one where it is None.
    """

    def __init__(self, folder: Path, book: FileBook, closely: Examination, pool: Executor | None = None) -> None:
        self._folder, self._root = folder, folder.resolve()
        self._book, self._closely, self._pool = book, closely, pool
        self._version = _version(closely)
        self._lately: OrderedDict[Hashable, Coming] = OrderedDict()
        self._folders: dict[str, Path] = {}

    def begin(self, image: str | bytes) -> Look:
        """Start to examine an image: a path below the source's folder, or bytes."""
        if isinstance(image, bytes):
            content = hashlib.sha256(image).hexdigest()
            return self._look(content, content, partial(_examine, lambda: image, self._closely))
        place = self._locate(image)
        if isinstance(place, Unusable):
            return Look(coming=place, is_first=False)
        sha256 = self._book.find_hash(*place)
        if sha256 and not self._closely.is_decoded and self._closely.liken is None:
            return self._look(place, sha256, partial(_examine_header, place[0], sha256))
        work = partial(_examine, place[0].read_bytes, self._closely)
        return self._look(place, sha256, work, None if sha256 else place)

    def end(self, look: Look) -> Outcome:
        """Wait for what comes of a look, and remember it."""
        outcome = look.coming.result() if isinstance(look.coming, Future) else look.coming
        if look.is_first and outcome.sha256 is not None:
            self._book.put_image(outcome.sha256, self._entry(outcome))
            if look.unhashed is not None:
                self._book.put_hash(*look.unhashed, outcome.sha256)
        return outcome

    def _look(
        self,
        name: Hashable,
        sha256: str | None,
        work: Callable[[], Outcome],
        unhashed: tuple[Path, Stamp] | None = None,
    ) -> Look:
        coming = self._lately.get(name) or (self._known(sha256) if sha256 else None)
        is_first = coming is None
        if coming is None:
            coming = self._pool.submit(work) if self._pool is not None else work()
        self._lately[name] = coming
        if len(self._lately) > REMEMBERED:
            self._lately.popitem(last=False)
        return Look(coming=coming, is_first=is_first, unhashed=unhashed)

    def _locate(self, image: str) -> tuple[Path, Stamp] | Unusable:
        """Return an image's real path and its stamp, or why it is not to be read."""
        try:
            path = self._resolve(image)
            # An absolute path may lead inside, and is wrong once the folder is moved.
            if image.startswith("/") or not path.is_relative_to(self._root):
                return Unusable(reason="image outside the source folder", detail="")
            status = path.stat()
        except (OSError, RuntimeError, ValueError) as error:
            return _unread(error)
        if not stat.S_ISREG(status.st_mode):
            return Unusable(reason="missing image", detail="no file")
        if status.st_size > FILE_LIMIT:
            return Unusable(reason="unreadable image", detail=f"a file of {status.st_size:,} bytes")
        return path, Stamp.of(status)

    def _resolve(self, image: str) -> Path:
        """Return the real path of an image; that of its folder is looked up once."""
        folder, name = os.path.split(image)
        if name in {"", ".", ".."}:
            return (self._folder / image).resolve()
        if folder not in self._folders:
            if len(self._folders) >= FOLDERS:
                self._folders.clear()
            self._folders[folder] = (self._folder / folder).resolve()
        path = self._folders[folder] / name
        return path.resolve() if path.is_symlink() else path

    def _known(self, sha256: str) -> Outcome | None:
        entry = self._book.find_image(sha256)
        if entry is None or not self._serves(entry):
            return None
        if entry.problem is not None:
            return Unusable(reason="unreadable image", detail=entry.problem, sha256=sha256)
        return Examined(
            sha256=sha256, width=entry.width, height=entry.height, suffix=entry.suffix, likeness=entry.likeness
        )

    def _serves(self, entry: ImageEntry) -> bool:
        """Say whether an earlier examination was at least as close as this one."""
        is_close = entry.is_decoded or not self._closely.is_decoded
        if self._closely.liken is None:
            return is_close and entry.version.startswith(self._version)
        return is_close and entry.version == self._version

    def _entry(self, outcome: Outcome) -> ImageEntry:
        is_decoded = self._closely.is_decoded
        if isinstance(outcome, Unusable):
            return ImageEntry(version=self._version, is_decoded=is_decoded, problem=outcome.detail)
        return ImageEntry(
            version=self._version,
            is_decoded=is_decoded,
            width=outcome.width,
            height=outcome.height,
            suffix=outcome.suffix,
            likeness=outcome.likeness,
        )


def _examine_header(path: Path, sha256: str) -> Outcome:
    try:
        return examine_header(path, sha256)
    except UnreadableImage as error:
        return Unusable(reason="unreadable image", detail=str(error), sha256=sha256)
    except OSError as error:
        return _unread(error)


def _examine(read: Callable[[], bytes], closely: Examination) -> Outcome:
    try:
        data = read()
    except OSError as error:
        return _unread(error)
    try:
        return examine_among_others(data, closely)
    except UnreadableImage as error:
        return Unusable(reason="unreadable image", detail=str(error), sha256=hashlib.sha256(data).hexdigest())


def _unread(error: Exception) -> Unusable:
    """Return why a path leads to no bytes, without it: a RuntimeError is a circle of links, a ValueError a NUL."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Unusable(reason="missing image", detail="")
    if isinstance(error, RuntimeError):
        return Unusable(reason="unreadable image", detail="a link that leads in a circle")
    told = error.strerror if isinstance(error, OSError) else None
    return Unusable(reason="unreadable image", detail=told or str(error))


def _version(closely: Examination) -> str:
    """Return what decides an examination; one for likeness too begins with that of one without."""
    plain = fingerprint([code_fingerprint("images.py"), PIL.__version__])
    return plain if closely.liken is None else f"{plain} {code_fingerprint('likeness.py')}"
