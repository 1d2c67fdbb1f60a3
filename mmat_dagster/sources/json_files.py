"""JSON files read record by record, straight into the publisher's shape: a broken record costs itself only.

A file of lines is decoded line by line. A file that is one object is cut where a member seems to end and the next to
begin; a piece that decodes proves the cut, for a JSON value ends in one place only. Where none does, and for arrays,
`scanning` goes on from there.
"""

import codecs
import re
from collections.abc import Callable, Generator, Iterator
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from mmat_dagster.sources import scanning
from mmat_dagster.sources.scanning import Place, Raw, scan

# What decoding raises: bad JSON, another shape, no UTF-8; a number or a nesting beyond measure.
DAMAGE = (msgspec.MsgspecError, ValueError, RecursionError)

_SPACE = rb"[ \t\r\n]*"
# A key and the object behind it; keys with escapes or beyond ASCII are left to the scanner.
_MEMBER = _SPACE + rb'"([ !#-\[\]-~]*)"' + _SPACE + rb":" + _SPACE + rb"(?=\{)"
_OPENING = re.compile(rb"(?:\xef\xbb\xbf)?" + _SPACE + rb"\{" + _MEMBER)
# Where an entry that is an object may begin behind one that is broken: in an object, and in an array.
_LATER_MEMBER = re.compile(rb"," + _MEMBER)
_LATER_ITEM = re.compile(rb"," + _SPACE + rb"(\{)")
_NEXT = re.compile(rb"\}" + _SPACE + rb"," + _MEMBER)

# Behind a broken entry, so many places where another seems to begin are tried.
SEAMS = 1000

Shape = TypeVar("Shape")


class RawRecord(msgspec.Struct, frozen=True):
    """A record in the publisher's own shape: strictly typed, unknown keys skipped."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """Why a record has not its source's shape, and where it stands."""

    where: str
    complaint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.complaint}"


def read_lines(path: Path, shape: type[Shape]) -> Iterator[tuple[int, Shape | Broken]]:
    """Yield number and record of each line; blank lines, a byte order mark and line ends are no part of a record.

    A file without any record is told as a broken one.
    """
    decode = decoder(shape)
    is_empty = True
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                # Decoders do not look for bad UTF-8 in what they skip.
                found: Shape | Broken = decode(line if line.isascii() else _checked(line))
            except DAMAGE:
                text = line.removeprefix(codecs.BOM_UTF8).strip()
                if not text:
                    continue
                found = parse(text, decode, f"{path.name}:{number}")
            is_empty = False
            yield number, found
    if is_empty:
        yield 1, Broken(where=path.name, complaint="the file holds no record")


def read_entries(path: Path, shape: type[Shape]) -> Iterator[tuple[int, str, Shape | Broken]]:
    """Yield number, key and record of each entry of a file that is one JSON object or array, in order.

    A key that stands twice is yielded twice; entries of an array have an empty one. Entries that are no JSON are told
    as one broken one, as far as the next record that is whole.
    """
    decode = decoder(shape)
    left: Place | None = yield from _read_members(path, decode)
    broken = yield from _scan_entries(path, left, decode)
    while broken is not None:
        left = _resume(path, broken, decode)
        where = f"{broken.where.removesuffix(' on')} to byte {left.offset}" if left else broken.where
        yield broken.number, "", parse(broken.text, decode, where)
        broken = (yield from _scan_entries(path, left, decode)) if left else None


def decoder(shape: type[Shape]) -> Callable[[bytes], Shape]:
    """Return what turns JSON into `shape`, strictly."""
    return msgspec.json.Decoder(shape).decode


def parse(text: bytes, decode: Callable[[bytes], Shape], where: str) -> Shape | Broken:
    """Return the record that `text` is, or why it is none."""
    try:
        return decode(_checked(text))
    except DAMAGE as error:
        return Broken(where=where, complaint=" ".join(str(error).split()))


def _checked(text: bytes) -> bytes:
    """Return `text`; raise UnicodeDecodeError where it is no UTF-8."""
    if not text.isascii():
        text.decode()
    return text


def _read_members(
    path: Path, decode: Callable[[bytes], Shape]
) -> Generator[tuple[int, str, Shape | Broken], None, Place | None]:
    """Yield members as long as their ends show; return where to scan on, None being the beginning of the file."""
    with path.open("rb") as file:
        members = _Members(file)
        while members.cut():
            value = members.value()
            try:
                found: Shape | Broken = decode(value if value.isascii() else _checked(value))
            except DAMAGE:
                if not _is_whole(value):
                    break
                found = parse(value, decode, f"{path.name}: entry {members.passed + 1}")
            key = members.step()
            yield members.passed, key, found
        return members.place()


def _scan_entries(
    path: Path, start: Place | None, decode: Callable[[bytes], Shape]
) -> Generator[tuple[int, str, Shape | Broken], None, Raw | None]:
    """Yield the entries from `start` on; return where they are broken, None where all were read."""
    for raw in scan(path, start):
        if raw.broken_at is not None:
            return raw
        yield raw.number, raw.key, parse(raw.text, decode, raw.where)
    return None


def _resume(path: Path, broken: Raw, decode: Callable[[bytes], Shape]) -> Place | None:
    """Return where the next whole record begins behind a broken one, if one does."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        is_keyed, offsets = _seams(data, broken.broken_at or 0)
    places = (Place(offset=offset, passed=broken.number, is_keyed=is_keyed) for offset in offsets)
    return next((place for place in places if _begins_record(path, place, decode)), None)


def _seams(data: mmap, start: int) -> tuple[bool, list[int]]:
    """Return whether a file is an object, and where its entries seem to begin behind byte `start`."""
    is_keyed = _OPENING.match(data) is not None
    found = islice((_LATER_MEMBER if is_keyed else _LATER_ITEM).finditer(data, start), SEAMS)
    return is_keyed, [seam.start(1) - is_keyed for seam in found]


def _begins_record(path: Path, place: Place, decode: Callable[[bytes], Shape]) -> bool:
    first = next(scan(path, place))
    return first.broken_at is None and not isinstance(parse(first.text, decode, ""), Broken)


def _is_whole(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except DAMAGE:
        return False
    return True


class _Members:
    """The members of a file's object, the one in hand being `"key": {..` from `_key_at` on; `passed` are behind it."""

    def __init__(self, file: BinaryIO) -> None:
        self.passed = 0
        self._file = file
        self._held = file.read(scanning.PIECE)
        self._before = 0
        self._cut: re.Match[bytes] | None = None
        self._take(_OPENING.match(self._held))

    def cut(self) -> bool:
        """Look for where the member in hand seems to end; say whether that was found."""
        if self._key_at < 0:
            return False
        self._cut = _NEXT.search(self._held, self._at)
        while self._cut is None and self._grow():
            self._cut = _NEXT.search(self._held, self._at)
        return self._cut is not None

    def value(self) -> bytes:
        """Return the member's value, if it does end there."""
        return self._held[self._at : self._cut.start() + 1] if self._cut else b""

    def step(self) -> str:
        """Go on to the next member; return the key of the one left behind."""
        key = self._key
        self._take(self._cut)
        self.passed += 1
        return key

    def place(self) -> Place | None:
        """Return where the member in hand begins; None where there is none."""
        return Place(offset=self._before + self._key_at, passed=self.passed) if self._key_at >= 0 else None

    def _take(self, found: re.Match[bytes] | None) -> None:
        self._key_at, self._at = (found.start(1) - 1, found.end()) if found else (-1, -1)
        self._key = found[1].decode() if found else ""

    def _grow(self) -> bool:
        size = len(self._held) - self._key_at
        piece = self._file.read(max(scanning.PIECE, size)) if size < scanning.LONGEST else b""
        if piece:
            self._held = self._held[self._key_at :] + piece
            self._before, self._at, self._key_at = self._before + self._key_at, self._at - self._key_at, 0
        return bool(piece)
