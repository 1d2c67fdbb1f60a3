"""What every source shares: the reader's record, its errors, and what becomes of a record that nobody could use.

file --read_lines, read_entries--> the source's own shape --> SourceRecord --settle--> kept or rejected
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from msgspec.structs import replace

from mmat_dagster.licences import licence_of
from mmat_dagster.schema import Rejection, RejectionReason, SourceName, SourceRecord


class SourceError(Exception):
    """A source cannot be read as it lies on disk."""


class SourceAbsent(SourceError):
    """The source's folder does not exist."""


class SourceLayoutError(SourceError):
    """The folder exists but holds none of the files that the publisher ships."""


def no_passages(folder: Path) -> Path | None:  # noqa: ARG001
    """Return None: most sources bring no corpus for the RAG search."""
    return None


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How one published dataset is read from its own folder.

    `expects` are glob patterns of its annotation files. `read` streams the records, a Rejection standing in for each
    one that is broken; `passages` finds the text corpus that the source brings, if it does.
    """

    name: SourceName
    publisher: str
    expects: tuple[str, ...]
    read: Callable[[Path], Iterator[SourceRecord | Rejection]]
    annotation_files: Callable[[Path], list[Path]]
    passages: Callable[[Path], Path | None] = no_passages


def reject(source: SourceName, record_id: str, reason: RejectionReason, detail: str) -> Rejection:
    """Return the rejection of a record that does not become a question-answer pair."""
    return Rejection(source=source, record_id=record_id, stage="source_qa", reason=reason, detail=detail)


@lru_cache(maxsize=256)
def licence_name(source: SourceName, part: str) -> str:
    """Return the name of a part's licence."""
    return licence_of(source, part).name


def unreadable(source: SourceName, record_id: str, complaint: object) -> Rejection:
    """Return the rejection of a record that has not the shape its publisher gives to all."""
    return reject(source, record_id, "unreadable record", str(complaint))


def settle(record: SourceRecord, file: str, number: int) -> SourceRecord | Rejection:
    """Return `record` with its blank answers dropped, or why nobody could ask or judge it.

    `file` and `number` say where it stands: `train.jsonl:` and 7, `problems_train.json: entry ` and 7.
    """
    if not record.question or record.question.isspace():
        return reject(record.source, record.id, "empty question", f"{file}{number}")
    if not all(record.answers) or any(map(str.isspace, record.answers)):
        record = replace(record, answers=tuple(answer for answer in record.answers if answer.strip()))
    if not record.answers:
        return reject(record.source, record.id, "no gold answer", f"{file}{number}")
    if record.choices and not _offers(record, record.answers[0]):
        detail = f"{file}{number}: {record.answers[0]!r} is none of {len(record.choices)} choices"
        return reject(record.source, record.id, "answer not among the choices", detail)
    return record


def _offers(record: SourceRecord, answer: str) -> bool:
    if record.answer_type == "option_letter":
        return len(answer) == 1 and 0 <= ord(answer) - ord("A") < len(record.choices)
    return record.answer_type != "option_text" or answer in record.choices
