"""TabMWP: word problems over tables, in the publisher's folder.

problems_train.json   {"1": {"question", "choices", "answer", "unit", "table_title", "table", "table_for_pd", ...}}
splits.json           {"train": [1, ..], "dev": [], "test": []}
tables/1.png
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from mmat_dagster.corpus import lookup_problems, money_problems, statistics_problems
from mmat_dagster.corpus.crew import Crew
from mmat_dagster.corpus.drawing import PALETTE
from mmat_dagster.corpus.layout import as_json
from mmat_dagster.corpus.problem import AnswerKind, Problem
from mmat_dagster.corpus.tables import Table, draw_table

FAMILIES: tuple[Callable[[Random], Problem], ...] = (
    money_problems.sum_of_prices,
    statistics_problems.mean,
    lookup_problems.greatest_or_least,
    money_problems.change_from_a_bill,
    statistics_problems.median,
    money_problems.enough_money,
    statistics_problems.rate_of_change,
    lookup_problems.what_begins_at,
    money_problems.price_by_weight,
    statistics_problems.mode,
    statistics_problems.probability,
    money_problems.difference_of_prices,
    statistics_problems.value_range,
    lookup_problems.elapsed_time,
    statistics_problems.stem_and_leaf,
)


@dataclass(frozen=True, kw_only=True)
class PublishedProblem:
    """A problem with the publisher's keys."""

    question: str
    choices: list[str] | None
    answer: str
    unit: str | None
    table_title: str | None
    table: str
    table_for_pd: dict[str, list[str]]
    row_num: int
    column_num: int
    solution: str
    ques_type: Literal["free_text", "multi_choice"]
    ans_type: AnswerKind
    grade: int
    split: str


def generate(folder: Path, records: int, crew: Crew) -> None:
    """Write `records` problems, one family after the other."""
    (folder / "tables").mkdir(parents=True)
    with (folder / "problems_train.json").open("w", encoding="utf-8", newline="\n") as out:
        out.write("{")
        for number, (picture, problem) in enumerate(crew.draw("train", _draw, records), start=1):
            (folder / "tables" / f"{number}.png").write_bytes(picture)
            out.write(f'{"," if number > 1 else ""}\n"{number}": {problem}')
        out.write("\n}\n")
    splits = {"train": list(range(1, records + 1)), "dev": [], "test": []}
    (folder / "splits.json").write_text(json.dumps(splits) + "\n", encoding="utf-8")


def _draw(rng: Random, number: int) -> tuple[bytes, str]:
    """Return the picture and the JSON of a problem."""
    problem = FAMILIES[number % len(FAMILIES)](rng)
    return draw_table(problem.table, rng.choice(PALETTE)).png(), as_json(publish(problem))


def publish(problem: Problem) -> PublishedProblem:
    """Return `problem` as TabMWP publishes it."""
    table = problem.table
    return PublishedProblem(
        question=problem.question,
        choices=list(problem.choices) or None,
        answer=problem.answer,
        unit=problem.unit,
        table_title=table.title,
        table="\n".join(" | ".join(line) for line in table.lines),
        table_for_pd=_columns(table),
        row_num=len(table.lines),
        column_num=len(table.rows[0]),
        solution="\n".join(problem.solution),
        ques_type="multi_choice" if problem.choices else "free_text",
        ans_type=problem.kind,
        grade=problem.grade,
        split="train",
    )


def _columns(table: Table) -> dict[str, list[str]]:
    heads = table.header or tuple(f"Column {number}" for number in range(1, len(table.rows[0]) + 1))
    return {head: [row[index] for row in table.rows] for index, head in enumerate(heads)}
