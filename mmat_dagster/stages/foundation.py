"""Foundation: published records become uniform samples, every image verified and every question laid out.

The table shows a function. Is the function linear or nonlinear?
(A) linear
(B) nonlinear
Answer with one of the options.
"""

import hashlib
import re
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

from mmat_dagster.images import Examined, ImageShelf, UnreadableImage, examine
from mmat_dagster.schema import AnswerType, ImageHome, ImageRef, Rejection, RejectionReason, Sample, SourceRecord
from mmat_dagster.sources.layout import Reader, reject

CONSTRAINTS: dict[AnswerType, str] = {
    "word_or_phrase": "Answer the question with a single word or phrase.",
    "option_letter": "Answer with the option's letter.",
    "option_text": "Answer with one of the options.",
    "number": "Answer with a number.",
    "yes_no": "Answer with yes or no.",
    "free_text": "",
}

_CURRENCIES = "$€£¥"
_ADJECTIVE = re.compile(r" (?:old|tall|long|wide|deep|high)$")
# Neighbouring records often ask about the same image, which need not be decoded again.
_REMEMBERED = 256


class _Unusable(Exception):
    """An image cannot be used; carries the reason and the detail of the rejection."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: RejectionReason = reason


def read_samples(
    reader: Reader, folder: Path, shelf: ImageShelf, part_rows: int, limit: int | None = None
) -> Iterator[Iterator[Sample | Rejection]]:
    """Yield the source part by part, `part_rows` records each and at most `limit` in all.

    A part is grounded as it is read, before the next one is asked for: what is passed over costs no look at its images.
    """
    records = islice(distinct(reader.read(folder)), limit)
    for first in records:
        part = chain([first], islice(records, part_rows - 1))
        yield _ground_all(part, folder, shelf)
        # What the caller passed over; held as a list, a part of Parquet rows would be gigabytes of images.
        deque(part, maxlen=0)


def foundation(
    records: Iterable[SourceRecord | Rejection], folder: Path, shelf: ImageShelf
) -> Iterator[Sample | Rejection]:
    """Yield a Sample or a Rejection for each of `records`, in order; a second record of the same id is rejected."""
    return _ground_all(distinct(records), folder, shelf)


def distinct(records: Iterable[SourceRecord | Rejection]) -> Iterator[SourceRecord | Rejection]:
    """Yield `records`, a Rejection standing in for each whose id came before.

    Remembers 8 bytes of hash per id: among a million ids, two share theirs by chance once in 37 million runs.
    """
    seen: set[int] = set()
    for record in records:
        if isinstance(record, Rejection):
            yield record
            continue
        mark = int.from_bytes(hashlib.blake2b(record.id.encode(), digest_size=8).digest())
        repeated = mark in seen
        seen.add(mark)
        yield reject(record.source, record.id, "duplicate id", "an earlier record has this id") if repeated else record


def ground(record: SourceRecord, folder: Path, images: ImageShelf) -> Sample | Rejection:
    """Return the sample of `record`, whose images lie in `folder`, or why one of them cannot be used."""
    try:
        found = tuple(_ground_image(image, folder, images) for image in record.images)
    except _Unusable as image:
        return reject(record.source, record.id, image.reason, str(image))
    if not found:
        return reject(record.source, record.id, "missing image", "the record names no image")
    return Sample(
        id=record.id,
        source=record.source,
        part=record.part,
        question=lay_out_question(record),
        bare_question=record.question,
        answers=record.answers,
        answer_type=record.answer_type,
        images=found,
        choices=record.choices,
        unit=record.unit,
        number_range=record.number_range,
        context=record.context,
        annotations=record.annotations,
        licence=record.licence,
    )


def lay_out_question(record: SourceRecord) -> str:
    """Return the question as it is asked: its choices, if any, and the response-style constraint behind it."""
    question = record.question.strip()
    shown = not record.choices or _shows_choices(question, record.choices)
    listed = "" if shown else "".join(f"\n({_letter(at)}) {choice}" for at, choice in enumerate(record.choices))
    constraint = _constraint(record)
    if not constraint or question.endswith(constraint):
        return question + listed
    one_line = not listed and "\n" not in question and question.endswith((".", "?", "!"))
    return question + listed + (" " if one_line else "\n") + constraint


def _ground_all(
    records: Iterable[SourceRecord | Rejection], folder: Path, shelf: ImageShelf
) -> Iterator[Sample | Rejection]:
    for record in records:
        yield record if isinstance(record, Rejection) else ground(record, folder, shelf)


def _constraint(record: SourceRecord) -> str:
    constraint, unit = CONSTRAINTS[record.answer_type], _unit_to_tell(record)
    return f"{constraint.removesuffix('.')} in {unit}." if record.answer_type == "number" and unit else constraint


def _unit_to_tell(record: SourceRecord) -> str | None:
    """Return the unit of measure, if there is one: not a currency, not what is counted, not what the question names."""
    unit = _ADJECTIVE.sub("", record.unit or "").strip()
    asked = record.question.casefold()
    if not unit or set(unit) & set(_CURRENCIES) or unit.casefold() in asked:
        return None
    counted = "how many" in asked and " per " not in unit
    return None if counted else unit


def _shows_choices(question: str, choices: tuple[str, ...]) -> bool:
    lettered = (re.escape(_letter(at)) + r"[).:]\s*" + re.escape(choice) for at, choice in enumerate(choices))
    return re.search(r".*\b".join(["", *lettered]), question, re.DOTALL) is not None


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def _ground_image(image: str | bytes, folder: Path, shelf: ImageShelf) -> ImageRef:
    if isinstance(image, str):
        found = _examine_file(Path(image), folder)
        return _reference("source", Path(image).as_posix(), found)
    try:
        found = examine(image)
    except UnreadableImage as error:
        raise _Unusable("unreadable image", f"image bytes: {error}") from error
    return _reference("store", shelf.put(image, found.suffix), found)


def _examine_file(image: Path, folder: Path) -> Examined:
    try:
        path = (folder / image).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise _Unusable("image outside the source folder", image.as_posix())
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _Unusable("missing image", f"{image.as_posix()}: no file")
        return _examine_path(path, status.st_mtime_ns, status.st_size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _Unusable("missing image", image.as_posix()) from error
    except (OSError, RuntimeError, ValueError, UnreadableImage) as error:
        # RuntimeError: links that lead in a circle; ValueError: a NUL in the path.
        raise _Unusable("unreadable image", f"{image.as_posix()!r}: {error}") from error


@lru_cache(maxsize=_REMEMBERED)
def _examine_path(path: Path, modified_ns: int, size: int) -> Examined:  # noqa: ARG001
    return examine(path.read_bytes())


def _reference(home: ImageHome, path: str, found: Examined) -> ImageRef:
    return ImageRef(home=home, path=path, sha256=found.sha256, width=found.width, height=found.height)
