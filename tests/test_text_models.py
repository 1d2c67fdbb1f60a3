"""RapidOCR reads real pictures in this process; PaddleOCR is asked and understood as its package documents it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from bench.operator_truth import NOTHING, Found, cells_found, is_number, read_receipts, read_tables, word_recall
from mmat_dagster.operators.findings import NO_TEXT
from mmat_dagster.pixels import read_rgb
from mmat_dagster.tools import Sight
from resources.paddleocr_model import PaddleOCRModel
from resources.rapidocr_model import RapidOCRModel
from resources.vision_worker import Glance, VisionModel

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
TABMWP = DATA / "sources" / "tabmwp"
SROIE = DATA / "operators" / "ocr" / "sroie"
RECEIPTS = DATA / "sources" / "visual_cot" / "cot" / "sroie"

ROWS = (("Day", "Visitors", "Price"), ("Monday", "317", "$4.50"), ("Tuesday", "208", "$6.25"))
TABLE_TEXT = "Day | Visitors | Price; Monday | 317 | $4.50; Tuesday | 208 | $6.25"
FONT = ImageFont.load_default(size=22)


@pytest.fixture(scope="module")
def rapidocr() -> RapidOCRModel:
    """Return a model that is loaded once for all tests."""
    return RapidOCRModel(upscale_below_px=600)


def cells(across: int = 140, down: int = 48) -> list[tuple[int, int, str]]:
    """Return where each cell is drawn, and what it says."""
    return [
        (14 + across * column, 10 + down * row, text)
        for row, texts in enumerate(ROWS)
        for column, text in enumerate(texts)
    ]


def draw(size: tuple[int, int], places: Sequence[tuple[int, int, str]]) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    for x, y, text in places:
        ImageDraw.Draw(picture).text((x, y), text, font=FONT, fill="black")
    return picture


def draw_table() -> Image.Image:
    return draw((420, 150), cells())


def look(model: VisionModel, *images: Image.Image) -> list[Sight]:
    return list(model.look([Glance(image=image) for image in images]))


def lines_of(sight: Sight) -> list[list[dict[str, Any]]]:
    assert isinstance(sight.details, dict)
    lines: Any = sight.details["lines"]
    return [list(line) for line in lines]


def test_a_table_is_read_row_by_row_and_silence_is_told(rapidocr: RapidOCRModel) -> None:
    table, blank = look(rapidocr, draw_table(), Image.new("RGB", (200, 100), "white"))
    assert table.text == TABLE_TEXT
    assert [[piece["text"] for piece in line] for line in lines_of(table)] == [[*row] for row in ROWS]
    assert blank == Sight(text=NO_TEXT, details={"lines": []})


ONE_ROW = [(14 + 140 * number, 10, text) for number, (_, _, text) in enumerate(cells())]
ONE_COLUMN = [(10, 10 + 110 * number, text) for number, (_, _, text) in enumerate(cells())]


@pytest.mark.parametrize(
    ("size", "places"),
    [((420, 150), cells()), ((640, 150), cells()), ((1260, 44), ONE_ROW), ((100, 990), ONE_COLUMN)],
    ids=["doubled", "as it is", "on a higher ground", "on a wider ground"],
)
def test_boxes_are_told_in_pixels_of_the_image(
    rapidocr: RapidOCRModel, size: tuple[int, int], places: list[tuple[int, int, str]]
) -> None:
    pieces = [piece for line in lines_of(look(rapidocr, draw(size, places))[0]) for piece in line]
    assert [piece["text"] for piece in pieces] == [text for _, _, text in places]
    for piece, (x, y, text) in zip(pieces, places, strict=True):
        assert piece["box"] == pytest.approx(around(x, y, text), abs=8)
        assert all(isinstance(edge, int) for edge in piece["box"])
        assert 0.5 < piece["score"] <= 1


@pytest.mark.long
def test_a_picture_beyond_the_limit_is_scaled_down_and_told_in_its_own_pixels(rapidocr: RapidOCRModel) -> None:
    large = draw_table().resize((3360, 1200))
    (sight,) = look(rapidocr, large)
    assert sight.text == TABLE_TEXT
    first = lines_of(sight)[0][0]["box"]
    assert first == pytest.approx([8 * edge for edge in around(14, 10, "Day")], abs=60)


def test_boxes_stay_inside_the_image(rapidocr: RapidOCRModel) -> None:
    cut = draw_table().crop((16, 14, 400, 128))
    boxes = [piece["box"] for line in lines_of(look(rapidocr, cut)[0]) for piece in line]
    assert boxes
    assert all(0 <= x1 < x2 <= 384 and 0 <= y1 < y2 <= 114 for x1, y1, x2, y2 in boxes)


@pytest.mark.parametrize("size", [(1, 1), (900, 3), pytest.param((20_000, 40), marks=pytest.mark.long)])
def test_a_sliver_of_an_image_holds_no_text(rapidocr: RapidOCRModel, size: tuple[int, int]) -> None:
    assert look(rapidocr, Image.new("RGB", size, "black"))[0].text == NO_TEXT


@pytest.mark.skipif(not TABMWP.is_dir(), reason="TabMWP is not at hand")
def test_the_cells_of_published_tables_are_read(rapidocr: RapidOCRModel) -> None:
    found = numbers = NOTHING
    for table in read_tables(TABMWP, 5):
        text = look(rapidocr, read_rgb(table.image))[0].text
        found += cells_found(table.cells, text)
        numbers += cells_found(filter(is_number, table.cells), text)
    assert found.found / found.whole > 0.98
    assert numbers.found / numbers.whole > 0.98


@pytest.mark.skipif(not (SROIE.is_dir() and RECEIPTS.is_dir()), reason="SROIE is not at hand")
def test_words_of_a_scanned_receipt_are_told_apart(rapidocr: RapidOCRModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.rapidocr_model.SPACE_WEIGHT", 1.0)
    unweighed = words_found(rapidocr)
    monkeypatch.undo()
    weighed = words_found(rapidocr)
    assert weighed.found > unweighed.found
    assert weighed.found / weighed.whole > 0.8


def words_found(model: RapidOCRModel) -> Found:
    receipt = next(receipt for receipt in read_receipts(SROIE, RECEIPTS) if receipt.image.stem == "X00016469669")
    (sight,) = look(model, read_rgb(receipt.image))
    return word_recall(receipt.lines, [piece["text"] for line in lines_of(sight) for piece in line])


class PaddleOCR:
    """What the package documents of its class: it tells what it was built with and shown, and reads what it is told."""

    built: dict[str, Any]
    shown: list[Any]
    reads: list[dict[str, Any]]

    def __init__(
        self,
        *,
        lang: str | None = None,
        device: str | None = None,
        cpu_threads: int = 10,
        enable_mkldnn: bool = True,
        use_doc_orientation_classify: bool | None = None,
        use_doc_unwarping: bool | None = None,
        use_textline_orientation: bool | None = None,
    ) -> None:
        straightens = (use_doc_orientation_classify, use_doc_unwarping, use_textline_orientation)
        PaddleOCR.built = {"lang": lang, "device": device, "straightens": straightens, "mkldnn": enable_mkldnn}

    def predict(self, input: list[Any]) -> list[dict[str, Any]]:  # noqa: A002  its own name
        PaddleOCR.shown = input
        return PaddleOCR.reads[: len(input)]


@pytest.fixture
def paddleocr(monkeypatch: pytest.MonkeyPatch) -> type[PaddleOCR]:
    """Put the documented class in the package's place."""
    package = ModuleType("paddleocr")
    monkeypatch.setattr(package, "PaddleOCR", PaddleOCR, raising=False)
    monkeypatch.setitem(sys.modules, "paddleocr", package)
    return PaddleOCR


def read_as(*pieces: tuple[str, tuple[int, int, int, int], float]) -> dict[str, Any]:
    """Return a result as PaddleOCR gives it: corners as small arrays, clockwise from the upper left one."""
    polygons = [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.int16) for _, (x1, y1, x2, y2), _ in pieces]
    return {
        "rec_texts": [text for text, _, _ in pieces],
        "rec_scores": [np.float32(score) for _, _, score in pieces],
        "rec_polys": polygons,
        "dt_polys": [*polygons, np.zeros((4, 2), np.int16)],
    }


def test_paddleocr_is_told_in_the_same_form_and_order(paddleocr: type[PaddleOCR]) -> None:
    paddleocr.reads = [
        read_as(("$4.50", (300, 12, 380, 40), 0.98765), ("Price", (14, 10, 90, 38), 1.0), (" ", (0, 60, 9, 70), 0.5)),
        read_as(),
    ]
    red = Image.new("RGB", (379, 100), (255, 0, 0))
    table, blank = look(PaddleOCRModel(lang="en", device="auto"), red, Image.new("RGB", (50, 50)))
    assert table.text == "Price | $4.50"
    price = {"text": "Price", "box": [14, 10, 90, 38], "score": 1.0}
    assert lines_of(table) == [[price, {"text": "$4.50", "box": [300, 12, 379, 40], "score": 0.988}]]
    assert blank == Sight(text=NO_TEXT, details={"lines": []})


def test_paddleocr_sees_upright_pixels_in_its_own_order_of_colours(paddleocr: type[PaddleOCR]) -> None:
    paddleocr.reads = [read_as()]
    look(PaddleOCRModel(lang="ch", device="gpu:0"), Image.new("RGB", (3, 2), (255, 128, 0)))
    (shown,) = paddleocr.shown
    assert shown.shape == (2, 3, 3)
    assert shown[0, 0].tolist() == [0, 128, 255]
    assert paddleocr.built == {"lang": "ch", "device": "gpu:0", "straightens": (False, False, False), "mkldnn": False}


def test_paddleocr_chooses_its_device_unless_one_is_named(paddleocr: type[PaddleOCR]) -> None:
    PaddleOCRModel(lang="en", device="auto")
    assert paddleocr.built["device"] is None


def around(x: int, y: int, text: str) -> list[float]:
    """Return the box of a cell that is drawn at x, y."""
    left, top, right, bottom = FONT.getbbox(text)
    return [x + left, y + top, x + right, y + bottom]
