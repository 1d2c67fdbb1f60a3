"""OCR really reads pictures in worker processes, and survives what happens to processes."""

import asyncio
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image, ImageDraw, ImageFont

from mmat_dagster.operators.findings import NO_TEXT
from mmat_dagster.operators.observation import CUT
from mmat_dagster.operators.reading_order import LINE_SEPARATOR, PIECE_SEPARATOR
from mmat_dagster.tools import Failed, OperatorUnavailable, Sight
from resources.ocr import RapidOCR
from tests.builders import make_sample
from tests.looking import see, tell

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
TABLES = DATA / "sources" / "tabmwp"
RECEIPT = DATA / "sources" / "visual_cot" / "cot" / "sroie" / "X00016469612.jpg"
RECEIPT_TEXT = DATA / "operators" / "ocr" / "sroie" / "X00016469612.csv"

ORIENTATION = 0x0112
ROWS = (("Day", "Visitors", "Price"), ("Monday", "317", "$4.50"), ("Tuesday", "208", "$6.25"))
TABLE_TEXT = "Day | Visitors | Price; Monday | 317 | $4.50; Tuesday | 208 | $6.25"

# Reads two images at once, so that both workers are there, tells their process ids and waits for its end.
LEAVES_WORKERS_BEHIND = """
import asyncio, multiprocessing, sys, time
from tests.looking import tell
from resources.ocr import RapidOCR
from pathlib import Path
if __name__ == "__main__":
    asyncio.run(tell(RapidOCR(workers=2), *map(Path, sys.argv[1:])))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


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
    """Yield an OCR that a test may harm."""
    ocr = RapidOCR(workers=2)
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
    assert own.offers(make_sample())
    assert not own.offers(make_sample(images=()))
    assert re.fullmatch(r"rapidocr 3\.\S+ onnxruntime \S+ code [0-9a-f]{16} upscale_below_px=600", own.version)
    assert set(multiprocessing.active_children()) == before
    assert await read(own, table) == TABLE_TEXT
    workers = set(multiprocessing.active_children()) - before
    assert workers
    end(own)
    assert set(multiprocessing.active_children()) == before
    assert not any(worker.is_alive() for worker in workers)
    assert await read(own, table) == TABLE_TEXT


async def test_an_image_that_kills_its_workers_fails_alone(own: RapidOCR, tmp_path: Path, table: Path) -> None:
    before = {child.pid for child in multiprocessing.active_children()}
    poison = tmp_path / "poison.png"
    os.mkfifo(poison)
    kept_open = os.open(poison, os.O_RDWR)
    try:
        fatal = asyncio.ensure_future(see(own, poison))
        killed = [await kill_reader(poison)]
        others = [asyncio.ensure_future(read(own, copy)) for copy in copies(table, 4)]
        killed.append(await kill_reader(poison))
        assert await fatal == [Failed(detail="its worker died, twice")]
        assert await asyncio.gather(*others) == [TABLE_TEXT] * 4
    finally:
        os.close(kept_open)
    assert len(set(killed)) == 2
    assert len({child.pid for child in multiprocessing.active_children()} - before) <= own.workers


async def test_workers_that_are_killed_are_replaced_and_no_image_is_lost(own: RapidOCR, table: Path) -> None:
    before = set(multiprocessing.active_children())
    await read(own, table)
    under_way = [asyncio.ensure_future(read(own, copy)) for copy in copies(table, 6)]
    await asyncio.sleep(0.1)
    for worker in set(multiprocessing.active_children()) - before:
        worker.kill()
    assert await asyncio.gather(*under_way) == [TABLE_TEXT] * 6
    assert await read(own, table) == TABLE_TEXT


async def test_a_model_that_does_not_load_is_told_for_all_images(
    own: RapidOCR, tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rapidocr").mkdir()
    (tmp_path / "rapidocr" / "__init__.py").write_text("raise ImportError('no such engine')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OperatorUnavailable, match=r"does not load .*no such engine"):
        await read(own, table)
    monkeypatch.undo()
    assert await read(own, table) == TABLE_TEXT


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path, table: Path) -> None:
    script = tmp_path / "leaves.py"
    script.write_text(LEAVES_WORKERS_BEHIND)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script), *map(str, copies(table, 4))], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers
        assert all(is_running(pid) for pid in workers)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in workers))


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


async def kill_reader(path: Path) -> int:
    """Kill the worker that has `path` open, as soon as there is one, and return its process id."""
    for _ in range(600):
        for child in multiprocessing.active_children():
            if child.pid is not None and has_open(child.pid, path):
                child.kill()
                child.join()
                return child.pid
        await asyncio.sleep(0.1)
    raise AssertionError(f"no worker has opened {path}")


def has_open(pid: int, path: Path) -> bool:
    try:
        return any(entry.readlink() == path for entry in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # it has ended, or closed a file meanwhile
        return False


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(300):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen in half a minute")


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (20_000, 40)])
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
