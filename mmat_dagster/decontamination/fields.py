"""What the fields of a benchmark's record mean, told by their names: question, id, images.

    {"question": "Which number fits?\\n<image1>", "id": "1", "image": "images/1.jpg", "options": [], "answer": "60"}

An image is its bytes, {"bytes": .., "path": ..}, base64, a path, or a list of these, written out as text even.
"""

import ast
import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.sources.wording import split_choices, strip_instructions

QUESTIONS = ("question", "query", "problem")
IDS = ("id", "pid", "index", "idx", "uid", "question_id", "qid", "sample_id")
ANSWERS = ("answer", "gt_answer", "ground_truth", "label")
# A record with one of these tells what a model replied to an item; `response` does so beside an answer.
OUTPUTS = (
    "prediction",
    "model_prediction",
    "full_prediction",
    "model_answer",
    "model_output",
    "model_response",
    "extraction",
)

_IMAGE = re.compile(r"(?:decoded_)?ima?ge?s?(?:_?\d+)?|ima?ge?_?(?:path|file|name)s?|file_?names?|picture|figure_path")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")
# No path is as long as the base64 of the smallest image.
_LONGEST_PATH = 64


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a record says of an item: its images as bytes, and those that it names only."""

    item: str
    question: str
    embedded: tuple[bytes, ...]
    paths: tuple[str, ...]


def interpret(row: Row) -> Named | None:
    """Return what `row` says of an item; None where it is a model's output, for training, or asks nothing."""
    fields = row.fields
    name = next((name for name in QUESTIONS if isinstance(fields.get(name), str)), None)
    if name is None or _is_output(row) or fields.get("split") == "train":
        return None
    images = [image for key, value in fields.items() if _IMAGE.fullmatch(key) for image in _images(value)]
    paths = tuple(dict.fromkeys(image for image in images if isinstance(image, str)))
    return Named(
        item=_item(row),
        question=_bare(str(fields[name])),
        embedded=tuple(image for image in images if isinstance(image, bytes)),
        # TabMWP draws the table of problem 54 in tables/54.png, and does not say so.
        paths=paths or ((f"tables/{row.name}.png",) if "table" in fields and not images else ()),
    )


def _is_output(row: Row) -> bool:
    given = row.fields.keys()
    return any(name in given for name in OUTPUTS) or ("response" in given and any(name in given for name in ANSWERS))


def _item(row: Row) -> str:
    ids = (row.fields.get(name) for name in IDS)
    return next((str(one).strip() for one in ids if isinstance(one, str | int) and str(one).strip()), row.name)


def _bare(question: str) -> str:
    """Return the question without the choices and the instruction that benchmarks write under it."""
    bare = split_choices(strip_instructions(question))[0]
    return re.sub(r"\n\s*select from the following choices\.?\s*$", "", bare, flags=re.IGNORECASE)


def _images(value: object) -> Iterator[bytes | str]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        yield from _images(value.get("bytes") or value.get("path"))
    elif isinstance(value, list):
        for one in value:
            yield from _images(one)
    elif isinstance(value, str) and value.strip() not in {"", "nan", "None"}:
        yield from _images_of_text(value.strip())


def _images_of_text(text: str) -> Iterator[bytes | str]:
    if text.startswith("["):
        yield from _images(_literal(text))
    elif (mark := _DATA_URL.match(text)) is not None:
        yield _decoded(text[mark.end() :])
    elif len(text) > _LONGEST_PATH and _BASE64.fullmatch(text):
        yield _decoded(text)
    else:
        yield text


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _decoded(text: str) -> bytes:
    """Return the bytes; those of broken base64 are none, which no decoder of images takes for one."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
