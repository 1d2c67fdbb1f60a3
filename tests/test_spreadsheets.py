"""Excel files are read as VLMEvalKit writes them."""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from mmat_dagster.decontamination.rows import Broken, Row
from mmat_dagster.scoring import spreadsheets
from mmat_dagster.scoring.spreadsheets import read_sheet
from tests.scoring_tables import MAIN, write_xlsx


def test_texts_numbers_and_empty_cells(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"index": 7, "A": "a < b", "B": None, "prediction": " B\n"},
        {"index": 8, "A": "é", "B": "x", "prediction": None},
    ]
    first, second = read_sheet(write_xlsx(tmp_path / "t.xlsx", rows))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.fields == {"index": "7", "a": "a < b", "b": "", "prediction": " B\n"}
    assert (second.fields["prediction"], second.name, second.number) == ("", "t.xlsx:2", 2)


def test_inline_and_rich_text(tmp_path: Path) -> None:
    cell = '<c r="A{}" t="inlineStr"><is>{}</is></c>'
    rows = ["<t>question</t>", "<r><t>Is </t></r><r><t>it?</t></r>"]
    sheet = "".join(f"<row>{cell.format(number, text)}</row>" for number, text in enumerate(rows, start=1))
    with ZipFile(tmp_path / "t.xlsx", "w") as file:
        file.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{MAIN}"><sheetData>{sheet}</sheetData></worksheet>'
        )
    (row,) = read_sheet(tmp_path / "t.xlsx")
    assert isinstance(row, Row)
    assert row.fields == {"question": "Is it?"}


def test_what_is_no_excel_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_text("index,question", "utf-8")
    (told,) = read_sheet(tmp_path / "t.xlsx")
    assert isinstance(told, Broken)
    assert "no Excel file" in told.problem


@pytest.mark.parametrize("name", ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"])
def test_a_part_that_unpacks_into_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(spreadsheets, "LONGEST", 100_000)
    whole = write_xlsx(tmp_path / "t.xlsx", [{"index": 1, "prediction": "A"}])
    with ZipFile(whole) as file:
        parts = {each: file.read(each) for each in file.namelist()}
    with ZipFile(tmp_path / "bomb.xlsx", "w", ZIP_DEFLATED) as file:
        for each, content in parts.items():
            file.writestr(each, content.ljust(1_000_000) if each == name else content)
    (told,) = read_sheet(tmp_path / "bomb.xlsx")
    assert isinstance(told, Broken)
    assert f"{name} unpacks into 1,000,000 bytes" in told.problem


def test_entities_that_blow_up_are_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    laughs = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "{"ha" * 50}">{entities}]><x>&e11;</x>'
    with ZipFile(tmp_path / "t.xlsx", "w") as file:
        file.writestr("xl/worksheets/sheet1.xml", laughs)
    (told,) = read_sheet(tmp_path / "t.xlsx")
    assert isinstance(told, Broken)
    assert "amplification" in told.problem


def test_a_file_that_breaks_off_keeps_what_stands_before(tmp_path: Path) -> None:
    whole = write_xlsx(tmp_path / "t.xlsx", [{"index": number, "prediction": "A"} for number in range(3)])
    with ZipFile(whole) as file:
        sheet, shared = (file.read(f"xl/{name}.xml") for name in ("worksheets/sheet1", "sharedStrings"))
    with ZipFile(tmp_path / "cut.xlsx", "w") as file:
        file.writestr("xl/worksheets/sheet1.xml", sheet[: sheet.rindex(b"<row")])
        file.writestr("xl/sharedStrings.xml", shared)
    assert [type(row) for row in read_sheet(tmp_path / "cut.xlsx")] == [Row, Row, Broken]
