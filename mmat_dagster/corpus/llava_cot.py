"""LLaVA-CoT: reasoning in four tagged parts over charts, geometry, solids and texts, in the publisher's folder.

train.jsonl   {"id", "image": "chartqa/train/png/chart_0000000.png", "conversations": [{"from": "human", ..}, ..]}
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from mmat_dagster.corpus.charts import draw_chart
from mmat_dagster.corpus.crew import Crew
from mmat_dagster.corpus.geometry import draw_geometry
from mmat_dagster.corpus.layout import shares, write_lines
from mmat_dagster.corpus.readings import draw_document, draw_sign
from mmat_dagster.corpus.reasoned import LETTERS, Reasoned, ReasonedPicture
from mmat_dagster.corpus.solids import draw_solids

# By the folder of the part's images: who draws them, and how their names begin.
PARTS: dict[str, tuple[Callable[[Random], ReasonedPicture], str]] = {
    "chartqa/train/png": (draw_chart, "chart"),
    "geoqa+/images": (draw_geometry, "geo"),
    "CLEVR_v1.0/images/train": (draw_solids, "CLEVR_train"),
    "docvqa/train/documents": (draw_document, "document"),
    "textvqa/train_images": (draw_sign, "photo"),
}
WEIGHTS = {
    "chartqa/train/png": 6,
    "geoqa+/images": 6,
    "CLEVR_v1.0/images/train": 4,
    "docvqa/train/documents": 2,
    "textvqa/train_images": 2,
}


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """A record with the publisher's keys; an utterance is {"from", "value"}, which no dataclass can spell."""

    id: str
    image: str
    conversations: list[dict[str, str]]


def generate(folder: Path, records: int, crew: Crew) -> None:
    """Write `records` conversations of one round or two."""
    write_lines(folder / "train.jsonl", _conversations(folder, records, crew))


def _conversations(folder: Path, records: int, crew: Crew) -> Iterator[Conversation]:
    for part, pictures in shares(records, WEIGHTS).items():
        (folder / part).mkdir(parents=True)
        for number, (picture, said) in enumerate(crew.draw(part, partial(_draw, part), pictures)):
            name = f"{PARTS[part][1]}_{number:07d}"
            image = f"{part}/{name}.png"
            (folder / image).write_bytes(picture)
            yield Conversation(id=name, image=image, conversations=said)


def _draw(part: str, rng: Random, number: int) -> tuple[bytes, list[dict[str, str]]]:
    """Return a picture of a part and what is said about it."""
    del number
    picture = PARTS[part][0](rng)
    return picture.canvas.png(), [line for asked in picture.rounds for line in _round(asked)]


def _round(asked: Reasoned) -> list[dict[str, str]]:
    lettered = zip(LETTERS, asked.choices, strict=False)
    question = "\n".join([asked.question, *(f"{letter}. {choice}" for letter, choice in lettered)])
    return [{"from": "human", "value": question}, {"from": "gpt", "value": render(asked)}]


def render(asked: Reasoned) -> str:
    """Return the reply in the publisher's four tags."""
    parts = {
        "SUMMARY": asked.summary,
        "CAPTION": asked.caption,
        "REASONING": "\n".join(asked.steps),
        "CONCLUSION": asked.letter if asked.choices else asked.answer,
    }
    return "\n\n".join(f"<{tag}> {text} </{tag}>" for tag, text in parts.items())
