"""Benchmarks' files as publishers write them, small: VLMEvalKit's tables, Excel files."""

import base64
import csv
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape
from zipfile import ZipFile

from tests.pictures import encoded, photo


def picture(seed: int = 1) -> bytes:
    """Return a small PNG image."""
    return encoded(photo(seed, (16, 12)))


def as_base64(image: bytes) -> str:
    """Return an image as VLMEvalKit's tables hold it."""
    return base64.b64encode(image).decode()


def write_tsv(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Write a table as pandas does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        table.writeheader()
        table.writerows(rows)
    return path


def write_json(path: Path, value: object) -> Path:
    """Write a JSON file, or a line for each of a list's entries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(each) + "\n" for each in value] if path.suffix == ".jsonl" and isinstance(value, list) else []
    path.write_text("".join(lines) or json.dumps(value), encoding="utf-8")
    return path


def write_xlsx(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Write an Excel file as openpyxl does: texts among the shared ones, numbers in place, empty cells left out."""
    cells: list[list[object]] = [[*rows[0]], *([row[name] for name in rows[0]] for row in rows)]
    shared = list(dict.fromkeys(str(cell) for row in cells for cell in row if isinstance(cell, str)))
    with ZipFile(path, "w") as file:
        file.writestr("xl/worksheets/sheet1.xml", _sheet(cells, shared))
        texts = "".join(f'<si><t xml:space="preserve">{escape(text)}</t></si>' for text in shared)
        file.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{texts}</sst>')
    return path


MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def _sheet(cells: Sequence[Sequence[object]], shared: list[str]) -> str:
    written = BytesIO()
    for number, row in enumerate(cells, start=1):
        told = "".join(_cell(f"{chr(65 + place)}{number}", cell, shared) for place, cell in enumerate(row))
        written.write(f'<row r="{number}">{told}</row>'.encode())
    return f'<worksheet xmlns="{MAIN}"><sheetData>{written.getvalue().decode()}</sheetData></worksheet>'


def _cell(place: str, value: object, shared: list[str]) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f'<c r="{place}" t="s"><v>{shared.index(value)}</v></c>'
    return f'<c r="{place}"><v>{value}</v></c>'
