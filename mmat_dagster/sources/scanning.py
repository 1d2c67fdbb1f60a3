"""JSON values taken off the front of a file one after the other, wherever its pieces are cut: exact, patient and slow.

Nothing in a file is lost silently: where it is broken, goes on behind its end or is no JSON, the last Raw parses as
nothing, so it becomes the rejection that tells of the break; it also tells where, so that a reader may go on behind it.
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

# A JSON file is read in pieces of so many characters; one record longer than LONGEST counts as a broken file.
PIECE = 1 << 18
LONGEST = 1 << 26

_BETWEEN = re.compile(r"[\s,:]*")


@dataclass(frozen=True, kw_only=True)
class Raw:
    """The bytes of one entry, and where they stood: `number` counts entries from 1, `key` is an object's.

    `broken_at` is a byte inside the entry that is no JSON, where the scan ended.
    """

    text: bytes
    where: str
    number: int
    key: str = ""
    broken_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A byte where an entry of a file's object (`is_keyed`) or array begins, and how many entries stand before it."""

    offset: int
    passed: int
    is_keyed: bool = True


def scan(path: Path, start: Place | None = None) -> Iterator[Raw]:
    """Yield the entries of a file that is one JSON object or array, holding no more than a piece of it at a time.

    A key that stands twice is yielded twice. With `start`, go on from there.
    """
    with path.open("rb") as raw:
        offset = start.offset if start else _mark_bytes(raw)
        raw.seek(offset)
        with TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="") as file:
            scanner = _Scanner(file, offset)
            if start:
                yield from _entries(scanner, path.name, keyed=start.is_keyed, passed=start.passed)
            else:
                yield from _whole(scanner, path.name)


def _mark_bytes(file: BinaryIO) -> int:
    """Return the length of the byte order mark at the beginning of a file."""
    return len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0


def _whole(scanner: "_Scanner", name: str) -> Iterator[Raw]:
    opening = scanner.peek()
    if opening in {"{", "["}:
        scanner.step()
        yield from _entries(scanner, name, keyed=opening == "{", passed=0)
    else:
        yield Raw(text=b"", where=f"{name}: neither a JSON object nor an array", number=1)


def _entries(scanner: "_Scanner", name: str, *, keyed: bool, passed: int) -> Iterator[Raw]:
    number = passed
    while scanner.peek() != ("}" if keyed else "]"):
        number += 1
        key = scanner.take() if keyed else '""'
        value = scanner.take() if key is not None and scanner.peek() else None
        if key is None or value is None:
            where = f"{name}: broken from entry {number} on"
            yield Raw(text=scanner.rest(), where=where, number=number, broken_at=scanner.offset())
            return
        text = value.encode("utf-8", "surrogateescape")
        yield Raw(text=text, where=f"{name}: entry {number}", number=number, key=_plain(key))
    scanner.step()
    if scanner.peek():
        where = f"{name}: more stands behind the end, after entry {number}"
        yield Raw(text=b"", where=where, number=number + 1)


def _plain(key: str) -> str:
    """Return a JSON string's text; what is no UTF-8 in it is replaced."""
    text = str(json.loads(key, strict=False))
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


class _Scanner:
    """Takes JSON values off the front of an open file, one after the other."""

    def __init__(self, file: TextIO, offset: int) -> None:
        self._file = file
        self._before = offset
        self._text = ""
        self._at = 0
        self._decoder = json.JSONDecoder(strict=False)

    def peek(self) -> str:
        """Return the next character that is no white space, comma or colon; nothing at the end of the file."""
        while True:
            match = _BETWEEN.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._fill(PIECE):
                return self._text[self._at : self._at + 1]

    def step(self) -> None:
        """Leave one character behind."""
        self._at += 1

    def take(self) -> str | None:
        """Return the text of the next value and leave it behind; None where no JSON value stands."""
        self.peek()
        while True:
            end = self._end()
            # A number so near the end of the piece may go on in the next one: `12`, `12.`, `12e-`.
            if end is not None and (end + 2 < len(self._text) or not self._fill(PIECE)):
                value, self._at = self._text[self._at : end], end
                return value
            if end is None and not self._grow():
                return None

    def rest(self) -> bytes:
        """Return what stands next, as far as a message can show it."""
        return self._text[self._at : self._at + 200].encode("utf-8", "surrogateescape")

    def offset(self) -> int:
        """Return the byte of the file that stands next."""
        return self._before + _size(self._text[: self._at])

    def _end(self) -> int | None:
        try:
            return self._decoder.raw_decode(self._text, self._at)[1]
        except (ValueError, RecursionError):  # beyond bad JSON: a number too long, nesting too deep
            return None

    def _grow(self) -> bool:
        held = len(self._text) - self._at
        return held < LONGEST and self._fill(max(PIECE, held))

    def _fill(self, characters: int) -> bool:
        piece = self._file.read(characters)
        if piece:
            self._before += _size(self._text[: self._at])
            self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
