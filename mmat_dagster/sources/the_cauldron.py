"""The Cauldron: ten of its fifty subsets, Parquet files that hold the images and the questions over them.

    intergps/train-00000-of-00001.parquet, one row:

    {"images": [{"bytes": b"\\x89PNG..", "path": null}],
     "texts": [{"user": "Question: Find PQ.\\nChoices:\\nA. 3\\nB. 4.5\\nC. 7\\nD. 8\\nAnswer with the letter.",
                "assistant": "Answer: B", "source": "InterGPS"}]}

Its authors closed every short answer with a full stop and appended one of many instructions to the question ("Give a
very brief answer."): both go, the foundation stage appends its own constraint. Captions are left as they are.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from mmat_dagster.schema import AnswerType, Rejection, Round, SourceRecord
from mmat_dagster.sources.layout import Reader, licence_name, reject, settle, unreadable
from mmat_dagster.sources.parquet_rows import DAMAGE, Row, Text, read_rows
from mmat_dagster.sources.wording import (
    Asked,
    guess_answer_type,
    read_letter,
    split_choices,
    strip_full_stop,
    strip_instructions,
)

SUBSETS = (
    "hateful_memes",
    "iconqa",
    "intergps",
    "raven",
    "robut_wikisql",
    "robut_wtq",
    "screen2words",
    "st_vqa",
    "tqa",
    "vistext",
)
CAPTIONS = frozenset({"screen2words", "vistext"})


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a row stands: its subset, the beginning of its ids, and its file and number for messages."""

    subset: str
    row_id: str
    file: str
    number: int


def annotation_files(folder: Path) -> list[Path]:
    """Return the Parquet files of the ten subsets, other subsets left out."""
    return sorted(path for subset in SUBSETS for path in (folder / subset).glob("train-*.parquet"))


def read(folder: Path) -> Iterator[SourceRecord | Rejection]:
    """Yield every question of every row; a later one over the same images has the earlier ones as its context."""
    for path in annotation_files(folder):
        subset, shard = path.parent.name, path.stem.removeprefix("train-").partition("-")[0]
        file_id, file = f"the_cauldron/{subset}/{shard}", f"{subset}/{path.name}: row "
        try:
            for number, row in enumerate(read_rows(path)):
                place = _Place(subset=subset, row_id=f"{file_id}/{number}", file=file, number=number)
                yield from _read_row(row, place)
        except DAMAGE as error:
            told = " ".join(str(error).split())
            yield unreadable("the_cauldron", file_id, f"{subset}/{path.name}: {told}")


def _read_row(row: Row | str, place: _Place) -> Iterator[SourceRecord | Rejection]:
    if isinstance(row, str):
        yield unreadable("the_cauldron", place.row_id, f"{place.file}{place.number}: {row}")
        return
    if not row.texts:
        where = f"{place.file}{place.number}: no texts"
        yield reject("the_cauldron", place.row_id, "empty question", where)
        return
    context: tuple[Round, ...] = ()
    images = tuple([image.bytes or f"{place.subset}/{image.path or ''}" for image in row.images])
    for number, text in enumerate(row.texts, start=1):
        record = settle(_record(images, text, place, number, context), place.file, place.number)
        yield record
        if isinstance(record, SourceRecord) and number < len(row.texts):
            context += (Round(question=record.question, answer=record.answers[0]),)


def _record(
    images: tuple[str | bytes, ...], text: Text, place: _Place, number: int, context: tuple[Round, ...]
) -> SourceRecord:
    asked = _asked(text, place.subset)
    return SourceRecord(
        id=f"{place.row_id}#{number}" if number > 1 else place.row_id,
        source="the_cauldron",
        part=place.subset,
        question=asked.question,
        answers=(asked.answer,),
        answer_type=asked.answer_type,
        images=images,
        choices=asked.choices,
        context=context,
        licence=licence_name("the_cauldron", place.subset),
    )


def _asked(text: Text, subset: str) -> Asked:
    if subset in CAPTIONS:
        return Asked(question=text.user.strip(), answer=text.assistant.strip(), answer_type="free_text")
    question, choices = split_choices(strip_instructions(text.user))
    question = question.removeprefix("Question:").strip()
    answer = text.assistant.strip().removeprefix("Answer:").strip()
    letter = read_letter(answer, choices) if choices or subset == "raven" else None
    if letter is not None:
        return Asked(question=question, choices=choices, answer=letter, answer_type="option_letter")
    plain = strip_full_stop(answer)
    kind: AnswerType = "option_text" if choices else guess_answer_type(plain)
    return Asked(question=question, choices=choices, answer=plain, answer_type=kind)


READER = Reader(
    name="the_cauldron",
    publisher="Hugging Face dataset HuggingFaceM4/the_cauldron",
    expects=tuple(f"{subset}/train-*.parquet" for subset in SUBSETS),
    read=read,
    annotation_files=annotation_files,
)
