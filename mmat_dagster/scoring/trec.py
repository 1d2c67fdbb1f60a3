"""TREC's text files: runs, what a search found; and qrels, what people have judged.

    run     qid Q0 docid rank score tag        301 Q0 FR940202-2-00150 104 2.129133 STANDARD
    qrels   qid iteration docid relevance      301 0 CR93E-10279 0

As trec_eval reads them: fields stand apart by white space; a run's rank, and whatever stands behind its tag, are not
read; blank lines and lines that begin with # are skipped.
"""

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

# By query and document: the score of a run, the relevance of qrels.
Run: TypeAlias = dict[str, dict[str, float]]
Qrels: TypeAlias = dict[str, dict[str, int]]

Number = TypeVar("Number", int, float)


class TrecError(ValueError):
    """A file is not in TREC's format, or a text cannot stand in one."""


def read_run(path: Path) -> Run:
    """Read a run; raise TrecError where it is none."""
    return _read(path, "a line of a run: qid Q0 docid rank score tag", (4, 6, None), _score)


def read_qrels(path: Path) -> Qrels:
    """Read qrels; raise TrecError where they are none."""
    return _read(path, "a line of qrels: qid iteration docid relevance", (3, 4, 4), int)


def render_run(query_id: str, found: Sequence[tuple[str, float]], tag: str) -> str:
    """Return the lines of one query for documents with scores, best first.

    trec_eval sorts by score alone, in some versions as a 32-bit number, and breaks ties by its own rule. So that the
    order stays, a score that is not below the one before it is printed as the next lower 32-bit number, which differs
    in the seventh digit or later; nine digits tell any two of them apart.
    """
    lines: list[str] = []
    before = math.inf
    for rank, (document, score) in enumerate(found, 1):
        before = min(_in_32_bits(score), _next_lower(before))
        lines.append(f"{field(query_id)} Q0 {field(document)} {rank} {before:.9g} {tag}\n")
    return "".join(lines)


def field(text: str) -> str:
    """Return an id that can stand in a TREC file; raise TrecError for any other."""
    if text.encode().split() != [text.encode()] or text.startswith("#"):
        raise TrecError(f"the id {text!r} cannot stand in a TREC file: it is empty, holds white space or begins with #")
    return text


def _in_32_bits(value: float) -> float:
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    return float(rounded)


def _next_lower(value: float) -> float:
    """Return the next lower 32-bit number: their bits, taken as integers, count away from zero."""
    (bits,) = struct.unpack("<i", struct.pack("<f", value or -0.0))
    (lower,) = struct.unpack("<f", struct.pack("<i", bits - 1 if value > 0 else bits + 1))
    return float(lower)


def _read(
    path: Path, form: str, columns: tuple[int, int, int | None], parse: Callable[[str], Number]
) -> dict[str, dict[str, Number]]:
    """Read the numbers in the column `columns[0]` of lines that have `columns[1]` to `columns[2]` fields."""
    found: dict[str, dict[str, Number]] = {}
    column, fewest, most = columns
    for number, fields in _lines(path):
        where = f"{path}, line {number}"
        if len(fields) < fewest or (most and len(fields) > most):
            raise TrecError(f"{where} is not {form}")
        try:
            value = parse(fields[column])
        except ValueError as error:
            raise TrecError(f"{where} is not {form}: {fields[column]!r} is no number for it") from error
        documents = found.setdefault(fields[0], {})
        if fields[2] in documents:
            raise TrecError(f"{where}: the document {fields[2]} stands twice under the query {fields[0]}")
        documents[fields[2]] = value
    return found


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                # Bytes split at ASCII's white space alone, as C's isspace does.
                fields = [part.decode() for part in line.split()]
                if fields and not fields[0].startswith("#"):
                    yield number, fields
    except OSError as error:
        raise TrecError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TrecError(f"{path} is not text in UTF-8") from error


def _score(text: str) -> float:
    score = float(text)
    if math.isnan(score):
        raise ValueError(text)
    return score
