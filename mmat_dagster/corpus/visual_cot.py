"""Visual CoT: questions over receipts, documents, street scenes and portraits, in the publisher's folder.

viscot_dataset/sroie_cot_train.jsonl   {"question", "answer", "image", "width", "height", "bboxs": [[..]], ...}
cot/sroie/sroie_0000000.png
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from mmat_dagster.corpus import letters, signs
from mmat_dagster.corpus.crew import Crew
from mmat_dagster.corpus.drawing import PixelBox
from mmat_dagster.corpus.faces import draw_portrait
from mmat_dagster.corpus.layout import shares, write_lines
from mmat_dagster.corpus.marked import Marked, MarkedPicture
from mmat_dagster.corpus.receipts import draw_receipt

# What each part shows, one kind after the other.
PARTS: dict[str, tuple[Callable[[Random], MarkedPicture], ...]] = {
    "sroie": (draw_receipt,),
    "textvqa": (signs.draw_shop, signs.draw_road_sign, signs.draw_signpost),
    "docvqa": (letters.draw_letter, letters.draw_form, letters.draw_memo),
    "flickr30k": (draw_portrait,),
    "textcap": (signs.draw_plate, signs.draw_label),
    "dude": (draw_receipt, letters.draw_form),
    "openimages": (signs.draw_shop, draw_portrait),
    "v7w": (draw_portrait, signs.draw_signpost),
}
WEIGHTS = {
    "sroie": 4,
    "textvqa": 4,
    "docvqa": 4,
    "flickr30k": 2,
    "textcap": 2,
    "dude": 2,
    "openimages": 1,
    "v7w": 1,
}


@dataclass(frozen=True, kw_only=True)
class PublishedQuestion:
    """A question with the publisher's keys."""

    question: str
    answer: str
    image: str
    width: int
    height: int
    bboxs: list[PixelBox]
    dataset: str
    split: str


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture (PNG) of `size` pixels and what can be asked about it."""

    png: bytes
    size: tuple[int, int]
    questions: tuple[Marked, ...]


def generate(folder: Path, records: int, crew: Crew) -> None:
    """Write `records` questions, several of them over one picture."""
    for part, count in shares(records, WEIGHTS).items():
        write_lines(folder / "viscot_dataset" / f"{part}_cot_train.jsonl", _questions(folder, part, count, crew))


def _questions(folder: Path, part: str, questions: int, crew: Crew) -> Iterator[PublishedQuestion]:
    pictures = folder / "cot" / part
    pictures.mkdir(parents=True)
    left = questions
    # At least one question is asked about each picture: these are enough, and as a rule too many.
    for number, picture in enumerate(crew.draw(part, partial(_draw, part), questions)):
        name = f"{part}_{number:07d}.png"
        (pictures / name).write_bytes(picture.png)
        asked = picture.questions[:left]
        yield from (_publish(marked, picture.size, name, part) for marked in asked)
        left -= len(asked)
        if not left:
            return


def _draw(part: str, rng: Random, number: int) -> Drawn:
    picture = PARTS[part][number % len(PARTS[part])](rng)
    size = (picture.canvas.width, picture.canvas.height)
    return Drawn(png=picture.canvas.png(), size=size, questions=picture.questions)


def _publish(marked: Marked, size: tuple[int, int], name: str, part: str) -> PublishedQuestion:
    return PublishedQuestion(
        question=marked.question,
        answer=marked.answer,
        image=name,
        width=size[0],
        height=size[1],
        bboxs=[marked.box],
        dataset=part,
        split="train",
    )
