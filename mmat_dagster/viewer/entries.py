"""What a list shows of a dialogue, and the words that it is searched by, from rows of `rr_dialogues`."""

from dataclasses import dataclass
from typing import Any

from mmat_dagster.schema import ImageRef, SourceName
from mmat_dagster.wire import RAG

# The columns that are read for lists and for the index: all but the wire form and the teacher's raw replies.
LISTED = (
    "id",
    "images",
    "sample.part",
    "sample.licence",
    "sample.question",
    "transcript.answer",
    "transcript.turns.list.element.step",
    "transcript.turns.list.element.observations",
    "reflection",
    "teacher",
)
# A list shows the beginning of a long question.
SHOWN_CHARS = 400


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A dialogue in a list; `place` is its number, `score` the audit's, where there is one."""

    place: int
    id: str
    source: SourceName
    part: str
    licence: str
    question: str
    answer: str
    operators: tuple[str, ...]
    turns: int
    reflection: str
    teacher: str
    image: ImageRef | None
    image_count: int
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a dialogue is searched by."""

    question: str
    thoughts: str
    observations: str
    answer: str


def entry_of(row: dict[str, Any], source: SourceName, place: int, score: float | None) -> Entry:
    """Return a row of the LISTED columns as a list shows it."""
    sample, images = row["sample"], row["images"]
    return Entry(
        place=place,
        id=row["id"],
        source=source,
        part=sample["part"],
        licence=sample["licence"],
        question=sample["question"][:SHOWN_CHARS],
        answer=row["transcript"]["answer"][:SHOWN_CHARS],
        operators=_called(row),
        turns=len(row["transcript"]["turns"]),
        reflection=row["reflection"],
        teacher=row["teacher"],
        image=ImageRef(**images[0]) if images else None,
        image_count=len(images),
        score=score,
    )


def words_of(row: dict[str, Any]) -> Words:
    """Return what a row of the LISTED columns is searched by."""
    turns = row["transcript"]["turns"]
    return Words(
        question=row["sample"]["question"],
        thoughts="\n".join(turn["step"]["thought"] for turn in turns),
        observations="\n".join(each["text"] for turn in turns for each in turn["observations"]),
        answer=row["transcript"]["answer"],
    )


def _called(row: dict[str, Any]) -> tuple[str, ...]:
    """Return what was called, each once, in the order of the first call; `rag` for the search."""
    steps = [turn["step"] for turn in row["transcript"]["turns"]]
    called = [name for step in steps for name in (*step["operators"], *([] if step["rag_query"] is None else [RAG]))]
    return tuple(dict.fromkeys(called))
