"""Reads the first sheet of an Excel file, the form in which VLMEvalKit writes tables of predictions, into rows.

    xl/worksheets/sheet1.xml   <row><c r="B2" t="s"><v>12</v></c> ..</row>   text as its number among the shared ones
    xl/sharedStrings.xml       <si><t>text</t></si> ..

The first row holds the headings. Numbers stay as they are written, formulas count by their last value.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as Xml
from zipfile import BadZipFile, ZipFile

from mmat_dagster.decontamination.rows import Broken, Row, told

DAMAGE = (BadZipFile, zlib.error, Xml.ParseError, OSError, ValueError, LookupError, NotImplementedError)

# No table of predictions is near as long; a small file can unpack into one that fills the memory.
LONGEST = 1 << 28

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_SHEET = re.compile(r"xl/worksheets/sheet\d+\.xml")
_COLUMN = re.compile(r"[A-Z]+")


def read_sheet(path: Path) -> Iterator[Row | Broken]:
    """Yield the rows of the first sheet by their lower-case headings; where it breaks off, the last one tells so."""
    try:
        with ZipFile(path) as file:
            yield from _rows(file, path.name)
    except DAMAGE as error:
        yield Broken(where=path.name, problem=f"no Excel file that can be read: {told(error)}")


def _rows(file: ZipFile, name: str) -> Iterator[Row]:
    names = sorted((each for each in file.namelist() if _SHEET.fullmatch(each)), key=lambda each: (len(each), each))
    shared = _shared(file) if "xl/sharedStrings.xml" in file.namelist() else []
    with _open(file, names[0]) as sheet:
        cells = _cells(sheet, shared)
        headings = {column: heading.casefold() for column, heading in next(cells, {}).items()}
        for number, row in enumerate(cells, start=1):
            fields = {heading: row.get(column, "") for column, heading in headings.items()}
            yield Row(fields=fields, name=f"{name}:{number}", number=number)


def _open(file: ZipFile, name: str) -> IO[bytes]:
    """Open a part of the file; it is never read beyond the length that is checked here."""
    length = file.getinfo(name).file_size
    if length > LONGEST:
        raise BadZipFile(f"{name} unpacks into {length:,} bytes")
    return file.open(name)


def _cells(sheet: IO[bytes], shared: list[str]) -> Iterator[dict[int, str]]:
    """Yield the cells of each row by their column, from 0."""
    for _, row in Xml.iterparse(sheet):  # noqa: S314 (expat itself refuses entities that blow up)
        if row.tag == f"{_MAIN}row":
            cells = enumerate(row.iter(f"{_MAIN}c"))
            yield {_column(cell, place): _text(cell, shared) for place, cell in cells}
            row.clear()


def _column(cell: Xml.Element, place: int) -> int:
    letters = _COLUMN.match(cell.get("r", ""))
    if letters is None:
        return place
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _text(cell: Xml.Element, shared: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return _written(cell)
    value = cell.findtext(f"{_MAIN}v") or ""
    return shared[int(value)] if cell.get("t") == "s" else value


def _shared(file: ZipFile) -> list[str]:
    with _open(file, "xl/sharedStrings.xml") as strings:
        root = Xml.parse(strings).getroot()  # noqa: S314
    return [_written(item) for item in root.iter(f"{_MAIN}si")]


def _written(item: Xml.Element) -> str:
    """Return the text of an item and of its runs, without that of phonetic hints."""
    runs = [*item.findall(f"{_MAIN}t"), *item.findall(f"{_MAIN}r/{_MAIN}t"), *item.findall(f"{_MAIN}is/{_MAIN}t")]
    runs += item.findall(f"{_MAIN}is/{_MAIN}r/{_MAIN}t")
    # As Excel escapes its own escapes.
    return "".join(run.text or "" for run in runs).replace("x005F_", "")
