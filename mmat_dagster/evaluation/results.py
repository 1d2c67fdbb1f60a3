"""What an examination leaves in the store: every answer, and the scores that follow from them.

    benchmark_scores/<mixture>/<variant>-<benchmark>-<key>/answers.parquet   one Answer a question
                                                           result.json       Result: written last
    benchmark_scores/<mixture>/manifest.json                                 the results that are current

A result is known by its key: all that decides the answers and how they are judged. What was examined once is only
pointed at.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from mmat_dagster.evaluation.answering import Failure
from mmat_dagster.fingerprints import fingerprint
from mmat_dagster.interfaces import Store
from mmat_dagster.records import from_table, to_table
from mmat_dagster.schema import Message
from mmat_dagster.scoring.statistics import Interval

SCORES = "benchmark_scores"
ANSWERS, RESULT, MANIFEST = "answers.parquet", "result.json", "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question and what came of it.

    `messages` is the whole exchange, `response` the student's answer, `parsed` what the benchmark's rule read in it,
    `score` its verdict from 0 to 1. `failure` says what went wrong on the way; the answer is judged all the same.
    """

    item: str
    question: str
    gold: tuple[str, ...]
    categories: tuple[str, ...]
    images: tuple[str, ...]
    messages: tuple[Message, ...]
    response: str
    parsed: str | None
    score: float
    failure: Failure | None
    detail: str | None
    turns: int
    calls: tuple[str, ...]
    reminders: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A score in the benchmark's unit, with its 95 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Result:
    """One student on one benchmark.

    `figures` holds every metric by its name, `metric` being the one that is published. `failures` counts answers by
    what went wrong, `calls` the tools that were run, `unreadable` names the items that could not be asked. `seconds`
    is the time that the examination took, replies from the ledger included.
    """

    variant: str
    benchmark: str
    title: str
    rule: str
    student: str
    checkpoint: str | None
    key: str
    folder: str
    n: int
    metric: str
    full_marks: float
    figures: Mapping[str, Figure]
    by_category: Mapping[str, float]
    failures: Mapping[str, int]
    calls: Mapping[str, int]
    reminders: int
    unreadable: Mapping[str, str]
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    @property
    def overall(self) -> Figure:
        """The figure that is published."""
        return self.figures[self.metric]


@dataclass(frozen=True, kw_only=True)
class Scoreboard:
    """The current results of a mixture."""

    mixture: str
    results: tuple[Result, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """What it says: equal for equal results."""
        return fingerprint(sorted(f"{result.variant} {result.benchmark} {result.key}" for result in self.results))


_RESULT = TypeAdapter(Result)
_SCOREBOARD = TypeAdapter(Scoreboard)


def read_result(store: Store, folder: str) -> Result | None:
    """Return a finished result, or None."""
    key = f"{folder}/{RESULT}"
    return _RESULT.validate_json(store.read(key)) if store.exists(key) else None


def write_result(store: Store, result: Result, answers: Sequence[Answer]) -> None:
    """Keep a result and its answers."""
    buffer = io.BytesIO()
    pq.write_table(to_table(answers, Answer), buffer, compression="zstd")
    store.write(f"{result.folder}/{ANSWERS}", buffer.getvalue())
    store.write(f"{result.folder}/{RESULT}", _RESULT.dump_json(result, indent=1))


def read_answers(store: Store, result: Result) -> list[Answer]:
    """Return the answers of a result, in the benchmark's order."""
    data = store.read(f"{result.folder}/{ANSWERS}")
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        return from_table(file.read(use_threads=False), Answer)


def read_scoreboard(store: Store, mixture: str) -> Scoreboard:
    """Return the current results of a mixture; none where nothing was ever examined."""
    key = f"{SCORES}/{mixture}/{MANIFEST}"
    return _SCOREBOARD.validate_json(store.read(key)) if store.exists(key) else Scoreboard(mixture=mixture)


def write_scoreboard(store: Store, board: Scoreboard) -> None:
    """Make `board` the current results of its mixture."""
    store.write(f"{SCORES}/{board.mixture}/{MANIFEST}", _SCOREBOARD.dump_json(board, indent=1))
