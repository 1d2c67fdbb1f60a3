"""OCR really reads pictures in worker processes, and survives what happens to processes."""

import asyncio
import json
import multiprocessing
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image, ImageDraw, ImageFont

from mmat_dagster.operators.findings import NO_TEXT
from mmat_dagster.operators.looking import looks_at
from mmat_dagster.operators.observation import CUT
from mmat_dagster.operators.reading_order import LINE_SEPARATOR, PIECE_SEPARATOR
from mmat_dagster.tools import Failed, Sight
from resources.ocr import RapidOCR
from tests.builders import make_sample
from tests.looking import Folder, see, tell

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
TABLES = DATA / "sources" / "tabmwp"
RECEIPT = DATA / "sources" / "visual_cot" / "cot" / "sroie" / "X00016469612.jpg"
RECEIPT_TEXT = DATA / "operators" / "ocr" / "sroie" / "X00016469612.csv"

ORIENTATION = 0x0112
ROWS = (("Day", "Visitors", "Price"), ("Monday", "317", "$4.50"), ("Tuesday", "208", "$6.25"))
TABLE_TEXT = "Day | Visitors | Price; Monday | 317 | $4.50; Tuesday | 208 | $6.25"


async def read(ocr: RapidOCR, *paths: Path) -> str:
    return await tell(ocr, *paths)


def draw_table() -> Image.Image:
    table = Image.new("RGB", (420, 150), "white")
    pen, font = ImageDraw.Draw(table), ImageFont.load_default(size=22)
    for row, cells in enumerate(ROWS):
        for column, text in enumerate(cells):
            pen.text((14 + 140 * column, 10 + 48 * row), text, font=font, fill="black")
        pen.line((0, 48 * row, 420, 48 * row), fill="grey")
    return table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    draw_table().save(tmp_path / "table.png")
    return tmp_path / "table.png"


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    Image.new("RGB", (200, 100), "white").save(tmp_path / "blank.png")
    return tmp_path / "blank.png"


def end(ocr: RapidOCR) -> None:
    ocr.teardown_after_execution(dg.build_init_resource_context())


@pytest.fixture(scope="module")
def shared() -> Iterator[RapidOCR]:
    """Yield an OCR whose worker has loaded its model once for all tests that only read."""
    ocr = RapidOCR(workers=1)
    yield ocr
    end(ocr)


@pytest.fixture
def own() -> Iterator[RapidOCR]:
    """Yield an OCR that a test may harm: its workers are shared with nobody, since no other test has so many."""
    ocr = RapidOCR(workers=3)
    yield ocr
    end(ocr)


async def test_a_table_is_read_row_by_row(shared: RapidOCR, table: Path) -> None:
    assert await read(shared, table) == TABLE_TEXT


async def test_every_image_is_told_of_and_silence_too(
    shared: RapidOCR, table: Path, blank: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await read(shared, blank, table) == f"image 1: {NO_TEXT}; image 2: {TABLE_TEXT}"
    assert await read(shared, blank) == NO_TEXT
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["transparent", "palette", "16 bit", "CMYK", "turned"])
async def test_pictures_of_every_kind_are_read(shared: RapidOCR, tmp_path: Path, kind: str) -> None:
    path = save_as(kind, draw_table(), tmp_path)
    assert await read(shared, path) == TABLE_TEXT


async def test_an_unreadable_image_fails_alone(shared: RapidOCR, tmp_path: Path, table: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "bomb.ppm").write_bytes(b"P5 99999999 99999999 255\n")
    paths = [tmp_path / name for name in ("broken.png", "bomb.ppm", "absent.png")]
    *failed, sight = await see(shared, *paths, table)
    details = [each.detail for each in failed if isinstance(each, Failed)]
    assert [detail.partition(" ")[0] for detail in details] == ["not", "DecompressionBombError:", "No"]
    assert isinstance(sight, Sight)
    assert sight.text == TABLE_TEXT


async def test_long_text_is_cut(table: Path, shared: RapidOCR) -> None:
    brief = RapidOCR(workers=1, max_chars=30)
    try:
        told = await read(brief, table)
    finally:
        end(brief)
    assert told == TABLE_TEXT[:24].rstrip() + CUT


def test_event_loops_come_and_go_even_while_an_image_is_read(shared: RapidOCR, table: Path) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(shared, table), 0.01)

    asyncio.run(give_up())
    assert asyncio.run(read(shared, table)) == TABLE_TEXT


async def test_who_gives_up_takes_the_text_from_nobody(shared: RapidOCR, table: Path) -> None:
    first, second = (asyncio.ensure_future(read(shared, table)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == TABLE_TEXT
    assert first.cancelled()


async def test_workers_start_with_the_first_image_and_end_with_the_run(own: RapidOCR, table: Path) -> None:
    before = set(multiprocessing.active_children())
    assert own.offers(looks_at(make_sample(), Folder()))
    assert not own.offers(looks_at(make_sample(images=()), Folder()))
    assert re.fullmatch(r"rapidocr 3\.\S+ onnxruntime \S+ code [0-9a-f]{16} upscale_below_px=600", own.version)
    assert set(multiprocessing.active_children()) == before
    assert await read(own, table) == TABLE_TEXT
    workers = set(multiprocessing.active_children()) - before
    assert workers
    end(own)
    assert set(multiprocessing.active_children()) == before
    assert not any(worker.is_alive() for worker in workers)
    assert await read(own, table) == TABLE_TEXT


def test_dagster_ends_the_workers_of_a_nested_resource(table: Path) -> None:
    before = set(multiprocessing.active_children())

    class Tools(dg.ConfigurableResource[RapidOCR]):
        ocr: dg.ResourceDependency[RapidOCR]

    @dg.asset
    def text(tools: Tools) -> str:
        return asyncio.run(read(tools.ocr, table))

    result = dg.materialize([text], resources={"tools": Tools(ocr=RapidOCR(workers=1))})
    assert result.output_for_node("text") == TABLE_TEXT
    assert set(multiprocessing.active_children()) == before


def test_importing_the_resource_loads_no_engine() -> None:
    code = "import sys, dagster; known = set(sys.modules); import resources.ocr; print(*set(sys.modules) - known)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "resources.ocr" in loaded.split()
    assert not {"rapidocr", "onnxruntime", "cv2", "numpy"} & set(loaded.split())


@pytest.mark.skipif(not TABLES.is_dir(), reason="TabMWP is not at hand")
@pytest.mark.parametrize("pid", ["33", "162"])
async def test_the_cells_of_a_published_table_are_read(shared: RapidOCR, pid: str) -> None:
    problem = json.loads((TABLES / "problems_dev1k.json").read_text("utf-8"))[pid]
    told = await read(shared, TABLES / "tables" / f"{pid}.png")
    cells = [cell.strip() for row in problem["table"].split("\n") for cell in row.split("|") if cell.strip()]
    found = re.split(rf"{re.escape(PIECE_SEPARATOR)}|{LINE_SEPARATOR}", told)
    missing = [cell for cell in cells if cell.casefold() not in map(str.casefold, found)]
    assert cells
    assert missing == []


@pytest.mark.skipif(not (RECEIPT.is_file() and RECEIPT_TEXT.is_file()), reason="SROIE is not at hand")
async def test_most_words_of_a_scanned_receipt_are_read(shared: RapidOCR) -> None:
    told = set(re.findall(r"\w{3,}", (await read(shared, RECEIPT)).casefold()))
    lines = [line.split(",", 8)[8] for line in RECEIPT_TEXT.read_text("utf-8").splitlines() if line.strip()]
    words = [word for line in lines for word in re.findall(r"\w{3,}", line.casefold())]
    assert len(words) > 50
    assert sum(word in told for word in words) / len(words) > 0.8


def save_as(kind: str, picture: Image.Image, folder: Path) -> Path:
    path = folder / f"{kind}.{'tif' if kind == 'CMYK' else 'png'}"
    if kind == "transparent":
        ink = picture.convert("L").point(lambda value: 255 - value)
        picture = Image.new("RGBA", picture.size, "black")
        picture.putalpha(ink)
    elif kind == "palette":
        picture = picture.quantize(16)
    elif kind == "16 bit":
        picture = picture.convert("I").point(lambda value: value * 257).convert("I;16")
    elif kind == "CMYK":
        picture = picture.convert("CMYK")
    exif = Image.Exif()
    if kind == "turned":
        exif[ORIENTATION] = 8
        picture = picture.transpose(Image.Transpose.ROTATE_270)
    picture.save(path, exif=exif)
    return path


def copies(picture: Path, count: int) -> list[Path]:
    found = [picture.with_name(f"copy {number}.png") for number in range(count)]
    for path in found:
        path.write_bytes(picture.read_bytes())
    return found


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), pytest.param((20_000, 40), marks=pytest.mark.long)])
async def test_a_sliver_of_an_image_holds_no_text(shared: RapidOCR, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "black").save(tmp_path / f"{size}.png")
    assert await read(shared, tmp_path / f"{size}.png") == NO_TEXT


async def test_small_print_of_a_long_picture_is_read(shared: RapidOCR, tmp_path: Path) -> None:
    page = Image.new("RGB", (700, 5000), "white")
    for row in range(0, 5000, 1000):
        ImageDraw.Draw(page).text((40, row + 60), f"Visitors in {2000 + row // 1000}", font_size=15, fill="black")
    page.save(tmp_path / "long.png")
    assert await read(shared, tmp_path / "long.png") == "; ".join(f"Visitors in {2000 + year}" for year in range(5))


async def test_a_tilted_table_is_read_row_by_row(shared: RapidOCR, tmp_path: Path) -> None:
    draw_table().rotate(-6, expand=True, fillcolor="white", resample=Image.Resampling.BICUBIC).save(tmp_path / "t.png")
    assert await read(shared, tmp_path / "t.png") == TABLE_TEXT
