"""The Cauldron: Parquet files of pictures and short questions over them, in the publisher's folder.

intergps/train-00000-of-00001.parquet   images: [{"bytes", "path": null}], texts: [{"user", "assistant", "source"}]
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from mmat_dagster.corpus import signs
from mmat_dagster.corpus.charts import draw_chart
from mmat_dagster.corpus.crew import Crew
from mmat_dagster.corpus.drawing import PALETTE
from mmat_dagster.corpus.geometry import FIGURES
from mmat_dagster.corpus.layout import shares
from mmat_dagster.corpus.marked import MarkedPicture
from mmat_dagster.corpus.reasoned import LETTERS, Reasoned
from mmat_dagster.corpus.solids import draw_solids
from mmat_dagster.corpus.tables import draw_table
from mmat_dagster.corpus.wiki_tables import SUBJECTS, make_lookup

SHARD_ROWS = 5000
# Rows in memory at a time: a row brings its picture along.
GROUP_ROWS = 100
SCHEMA = pa.schema(
    [
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ("texts", pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())]))),
    ]
)
WEIGHTS = {"robut_wtq": 5, "robut_wikisql": 4, "st_vqa": 7, "intergps": 2, "iconqa": 1, "vistext": 1}

_BRIEFLY = ("Give a very brief answer.", "Short answer required.", "Answer briefly.", "Keep it short and to the point.")
_DESCRIBE = ("What does this chart show?", "Describe the chart.", "Explain what this graph is communicating.")
_SCENES: tuple[Callable[[Random], MarkedPicture], ...] = (
    signs.draw_plate,
    signs.draw_label,
    signs.draw_road_sign,
    signs.draw_shop,
    signs.draw_signpost,
)


@dataclass(frozen=True, kw_only=True)
class PublishedText:
    """A question and its answer with the publisher's keys."""

    user: str
    assistant: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A picture (PNG) and the rounds of questions over it."""

    picture: bytes
    texts: tuple[PublishedText, ...]


def draw_wtq_row(rng: Random, number: int) -> Row:
    """Draw a table and look up a cell or two in it, as RobuT's WikiTableQuestions do."""
    return _draw_table_row(rng, number, "robut_wtq")


def draw_wikisql_row(rng: Random, number: int) -> Row:
    """Draw a table and look up a cell or two in it, as RobuT's WikiSQL does."""
    return _draw_table_row(rng, number, "robut_wikisql")


def _draw_table_row(rng: Random, number: int, subset: str) -> Row:
    lookup = make_lookup(rng, SUBJECTS[number % len(SUBJECTS)])
    picture = draw_table(lookup.table, rng.choice(PALETTE)).png()
    return Row(picture=picture, texts=_brief_texts(rng, lookup.questions, subset))


def draw_scene_row(rng: Random, number: int) -> Row:
    """Draw a thing that bears a text and ask for the text."""
    scene = _SCENES[number % len(_SCENES)](rng)
    asked = tuple((marked.question, marked.answer) for marked in scene.questions)
    return Row(picture=scene.canvas.png(), texts=_brief_texts(rng, asked, "st_vqa"))


def draw_geometry_row(rng: Random, number: int) -> Row:
    """Draw a figure and ask for a measure, the answer being a choice's letter."""
    figure = FIGURES[number % len(FIGURES)](rng)
    return Row(picture=figure.canvas.png(), texts=tuple(_lettered_text(asked) for asked in figure.rounds))


def draw_solids_row(rng: Random, number: int) -> Row:
    """Draw solids and ask what counting and looking answer."""
    del number
    scene = draw_solids(rng)
    asked = tuple((each.question, each.answer) for each in scene.rounds)
    return Row(picture=scene.canvas.png(), texts=_brief_texts(rng, asked, "iconqa"))


def draw_chart_row(rng: Random, number: int) -> Row:
    """Draw a chart and have it described."""
    del number
    chart = draw_chart(rng)
    text = PublishedText(user=rng.choice(_DESCRIBE), assistant=chart.rounds[0].caption, source="vistext")
    return Row(picture=chart.canvas.png(), texts=(text,))


SUBSETS: dict[str, Callable[[Random, int], Row]] = {
    "robut_wtq": draw_wtq_row,
    "robut_wikisql": draw_wikisql_row,
    "st_vqa": draw_scene_row,
    "intergps": draw_geometry_row,
    "iconqa": draw_solids_row,
    "vistext": draw_chart_row,
}


def generate(folder: Path, records: int, crew: Crew) -> None:
    """Write `records` rows of one question or two."""
    for subset, count in shares(records, WEIGHTS).items():
        (folder / subset).mkdir(parents=True)
        rows = crew.draw(subset, SUBSETS[subset], count)
        shards = -(-count // SHARD_ROWS)
        for shard in range(shards):
            path = folder / subset / f"train-{shard:05d}-of-{shards:05d}.parquet"
            _write_shard(path, islice(rows, SHARD_ROWS))


def _write_shard(path: Path, rows: Iterator[Row]) -> None:
    with pq.ParquetWriter(path, SCHEMA) as file:
        while group := list(islice(rows, GROUP_ROWS)):
            published = [
                {
                    "images": [{"bytes": row.picture, "path": None}],
                    "texts": [asdict(text) for text in row.texts],
                }
                for row in group
            ]
            file.write_table(pa.Table.from_pylist(published, SCHEMA))


def _brief_texts(rng: Random, asked: tuple[tuple[str, str], ...], subset: str) -> tuple[PublishedText, ...]:
    rounds = rng.sample(asked, min(len(asked), 2 if rng.random() < 0.25 else 1))
    return tuple(
        PublishedText(user=f"{question}\n{rng.choice(_BRIEFLY)}", assistant=f"{answer}.", source=subset)
        for question, answer in rounds
    )


def _lettered_text(asked: Reasoned) -> PublishedText:
    choices = (f"{letter}: {choice}" for letter, choice in zip(LETTERS, asked.choices, strict=False))
    user = "\n".join([asked.question, "Choices:", *choices, "Answer with the letter."])
    return PublishedText(user=user, assistant=f"Answer: {asked.letter}", source="intergps")
