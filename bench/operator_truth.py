"""What annotated pictures hold, and how much of it an operator finds: pure measures, and readers of published files.

tables      TabMWP: the cells of a table, in the text that was read from its picture
receipts    SROIE: the words of a receipt, among the words that were read
faces       dlib's photos: annotated boxes, and found boxes that overlap them
"""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from mmat_dagster.operators.reading_order import PIECE_SEPARATOR

Region: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

MIN_OVERLAP = 0.3
_LEAVES = re.compile(r"\d(, \d)+")
# Before the text of a line of SROIE stand the four corners of its box.
CORNERS = 8


@dataclass(frozen=True, kw_only=True)
class Found:
    """How many things were found of how many."""

    found: int
    whole: int

    def __add__(self, other: "Found") -> "Found":
        """Return both together."""
        return Found(found=self.found + other.found, whole=self.whole + other.whole)

    def __str__(self) -> str:
        """Return `1292 of 1299 (99.5 %)`."""
        return f"{self.found} of {self.whole} ({100 * self.found / (self.whole or 1):.1f} %)"


NOTHING = Found(found=0, whole=0)


@dataclass(frozen=True, kw_only=True)
class Matches:
    """How many annotated boxes there are, how many were found, and how many of those belong together."""

    matched: int
    annotated: int
    found: int

    def __add__(self, other: "Matches") -> "Matches":
        """Return both together."""
        pairs = zip(self._counts(), other._counts(), strict=True)
        matched, annotated, found = (left + right for left, right in pairs)
        return Matches(matched=matched, annotated=annotated, found=found)

    @property
    def recall(self) -> float:
        """The share of the annotated boxes that was found."""
        return self.matched / self.annotated if self.annotated else 1.0

    @property
    def precision(self) -> float:
        """The share of the found boxes that is annotated."""
        return self.matched / self.found if self.found else 1.0

    def _counts(self) -> tuple[int, int, int]:
        return self.matched, self.annotated, self.found


@dataclass(frozen=True, kw_only=True)
class Table:
    """The picture of a table, and its cells."""

    image: Path
    cells: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The picture of a receipt, and its lines."""

    image: Path
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo, the faces that count, and those that an annotator marked as neither to be found nor wrong."""

    image: Path
    faces: tuple[Region, ...]
    ignored: tuple[Region, ...] = ()


def cells_found(cells: Iterable[str], text: str) -> Found:
    """Count the cells that stand in `text`, white space and case aside.

    The leaves of a stem-and-leaf plot are annotated as `1, 3, 7` and printed as `1  3  7`: they are found where these
    digits follow each other in one line, in one piece or several.
    """
    read, lines = _bare(text), _bare(text.replace(PIECE_SEPARATOR, ""))
    found = [
        _bare(cell.replace(", ", "")) in lines if _LEAVES.fullmatch(cell) else _bare(cell) in read for cell in cells
    ]
    return Found(found=sum(found), whole=len(found))


def is_number(cell: str) -> bool:
    """Say whether a cell holds a number, a price, a time or a row of digits: digits, and no letter."""
    return any(sign.isdigit() for sign in cell) and not any(sign.isalpha() for sign in cell)


def word_recall(lines: Iterable[str], read: Iterable[str]) -> Found:
    """Count the words of `lines` that are among the words of `read`, each as often as it stands there, case aside."""
    wanted, there = _words(lines), _words(read)
    return Found(found=(wanted & there).total(), whole=wanted.total())


def overlap(one: Region, other: Region) -> float:
    """Return the intersection over the union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other))
    return width * height / (areas - width * height)


def matches(photo: Photo, boxes: Sequence[Region], min_overlap: float = MIN_OVERLAP) -> Matches:
    """Match found boxes with faces one to one, best overlap first; what only an ignored face explains is left out."""
    pairs = _pairs(photo.faces, boxes, min_overlap)
    matched = {box for _, box in pairs}
    left = [box for number, box in enumerate(boxes) if number not in matched]
    excused = _pairs(photo.ignored, left, min_overlap)
    return Matches(matched=len(pairs), annotated=len(photo.faces), found=len(boxes) - len(excused))


def read_tables(folder: Path, count: int) -> list[Table]:
    """Return the first `count` tables of TabMWP's problems, in the order of the file."""
    problems = json.loads((folder / "problems_dev1k.json").read_text("utf-8"))
    return [
        Table(image=folder / "tables" / f"{pid}.png", cells=_cells(problem["table"]))
        for pid, problem in islice(problems.items(), count)
    ]


def read_receipts(texts: Path, images: Path) -> list[Receipt]:
    """Return SROIE's receipts: lines of `x1,y1,x2,y2,x3,y3,x4,y4,text`, whose text may hold commas."""
    return [
        Receipt(image=images / f"{path.stem}.jpg", lines=_texts(path.read_text("utf-8")))
        for path in sorted(texts.glob("*.csv"))
    ]


def read_photos(folder: Path) -> list[Photo]:
    """Return the photos of imglab's files whose pictures are at hand."""
    images = [image for path in sorted(folder.glob("*.xml")) for image in _images(path)]
    return [_photo(folder, image) for image in images if (folder / image.attrib["file"]).is_file()]


def _bare(text: str) -> str:
    return "".join(text.split()).casefold()


def _words(lines: Iterable[str]) -> Counter[str]:
    return Counter(word for line in lines for word in line.casefold().split())


def _pairs(faces: Sequence[Region], boxes: Sequence[Region], min_overlap: float) -> list[tuple[int, int]]:
    """Return which face belongs to which box."""
    pairs: list[tuple[int, int]] = []
    overlaps = ((overlap(face, box), i, j) for i, face in enumerate(faces) for j, box in enumerate(boxes))
    for share, i, j in sorted(overlaps, key=lambda item: (-item[0], *item[1:])):
        if share >= min_overlap and all(i != face and j != box for face, box in pairs):
            pairs.append((i, j))
    return pairs


def _cells(table: str) -> tuple[str, ...]:
    cells = (cell.strip() for row in table.split("\n") for cell in row.split(" | "))
    return tuple(cell for cell in cells if cell)


def _texts(content: str) -> tuple[str, ...]:
    return tuple(line.split(",", CORNERS)[CORNERS] for line in content.splitlines() if line.count(",") >= CORNERS)


def _images(path: Path) -> list[ET.Element]:
    return list(ET.parse(path).iter("image"))  # noqa: S314  a published file, read-only


def _photo(folder: Path, image: ET.Element) -> Photo:
    boxes = [(box.attrib.get("ignore") == "1", _region(box)) for box in image.iter("box")]
    return Photo(
        image=folder / image.attrib["file"],
        faces=tuple(box for ignored, box in boxes if not ignored),
        ignored=tuple(box for ignored, box in boxes if ignored),
    )


def _region(box: ET.Element) -> Region:
    left, top, width, height = (float(box.attrib[key]) for key in ("left", "top", "width", "height"))
    return (left, top, left + width, top + height)
