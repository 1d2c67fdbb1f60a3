"""InfoSeek: questions over pictures that an encyclopedia answers, in the publisher's folder.

infoseek_train.jsonl          {"data_id", "image_id", "question", "answer", "answer_eval", "data_split"}
infoseek_train_withkb.jsonl   {"data_id", "entity_id", "entity_text"}
oven_images/00/oven_00000000.png
Wiki6M_ver_1_0.jsonl          {"wikidata_id", "wikipedia_title", "wikipedia_summary", "wikipedia_content"}
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from mmat_dagster.corpus.backdrops import set_scene
from mmat_dagster.corpus.crew import Crew
from mmat_dagster.corpus.entities import ENTITIES, Asked, Entity
from mmat_dagster.corpus.layout import write_lines

_ENCYCLOPEDIA = Path(__file__).with_name("encyclopedia.jsonl")


@dataclass(frozen=True, kw_only=True)
class NumberEval:
    """How the publisher judges a number: the true value and the accepted range."""

    wikidata: float
    range: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PublishedQuestion:
    """A question with the publisher's keys."""

    data_id: str
    image_id: str
    question: str
    answer: list[str]
    answer_eval: list[str] | list[NumberEval]
    data_split: str


@dataclass(frozen=True, kw_only=True)
class Link:
    """Which article a question is about, with the publisher's keys."""

    data_id: str
    entity_id: str
    entity_text: str


def encyclopedia() -> Path:
    """Return the path of the encyclopedia that comes with the package, in the layout of InfoSeek's Wikipedia."""
    return _ENCYCLOPEDIA


def generate(folder: Path, records: int, crew: Crew) -> None:
    """Write `records` questions, each over a picture of its own, and the encyclopedia."""
    shutil.copyfile(encyclopedia(), folder / "Wiki6M_ver_1_0.jsonl")
    write_lines(folder / "infoseek_train.jsonl", _questions(folder / "oven_images", records, crew))
    write_lines(folder / "infoseek_train_withkb.jsonl", _links(records))


def _questions(pictures: Path, records: int, crew: Crew) -> Iterator[PublishedQuestion]:
    for number, picture in enumerate(crew.draw("train", _draw, records)):
        _, asked = _asked(number)
        image_id = f"oven_{number:08d}"
        drawer = pictures / f"{number:08d}"[:2]
        drawer.mkdir(parents=True, exist_ok=True)
        (drawer / f"{image_id}.png").write_bytes(picture)
        yield PublishedQuestion(
            data_id=_data_id(number),
            image_id=image_id,
            question=asked.question,
            answer=list(asked.answers),
            answer_eval=_evaluation(asked),
            data_split="train",
        )


def _draw(rng: Random, number: int) -> bytes:
    """Return the picture of question `number`."""
    entity, _ = _asked(number)
    canvas = set_scene(entity.scene, rng)
    entity.draw(canvas, rng)
    return canvas.png()


def _links(records: int) -> Iterator[Link]:
    articles = map(json.loads, encyclopedia().read_text(encoding="utf-8").splitlines())
    titles = {article["wikidata_id"]: article["wikipedia_title"] for article in articles}
    for number in range(records):
        entity, _ = _asked(number)
        yield Link(data_id=_data_id(number), entity_id=entity.id, entity_text=titles[entity.id])


def _asked(number: int) -> tuple[Entity, Asked]:
    """Return what question `number` is: every entity in turn, with its next question each time round."""
    entity = ENTITIES[number % len(ENTITIES)]
    return entity, entity.asked[number // len(ENTITIES) % len(entity.asked)]


def _evaluation(asked: Asked) -> list[str] | list[NumberEval]:
    if asked.tolerance is None:
        return list(asked.answers)
    value = float(asked.answers[0])
    low, high = value * (1 - asked.tolerance), value * (1 + asked.tolerance)
    return [NumberEval(wikidata=value, range=(round(low, 4), round(high, 4)))]


def _data_id(number: int) -> str:
    return f"infoseek_train_{number:08d}"
