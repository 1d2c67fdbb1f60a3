"""Prints what students have scored, and how they answered: the commands scores and answers."""

import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice

from mmat_dagster.evaluation.comparing import compare_all
from mmat_dagster.evaluation.results import Answer, Result, Scoreboard, read_answers, read_scoreboard
from mmat_dagster.evaluation.tables import comparison_table, results_table, significance_table
from mmat_dagster.evaluation.transcripts import to_text
from mmat_dagster.interfaces import Store

NARROWEST, WIDEST = 60, 140


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which answers are to be printed; None takes every variant or benchmark."""

    mixture: str
    variant: str | None
    benchmark: str | None
    count: int
    skip: int
    only_wrong: bool
    only_failed: bool
    as_json: bool


def print_scores(store: Store, mixture: str) -> int:
    """Print a mixture's scores, who is better than whom, and what went wrong; return the exit code."""
    board = read_scoreboard(store, mixture)
    if not board.results:
        return _nothing(mixture)
    print(aligned(comparison_table(board)))
    print(aligned(significance_table(compare_all(store, board))))
    print(aligned(results_table(board.results)))
    return 0


def print_answers(store: Store, wanted: Wanted) -> int:
    """Print answers one after the other; return the exit code."""
    results = _results(read_scoreboard(store, wanted.mixture), wanted)
    if not results:
        return _nothing(wanted.mixture)
    for result in results:
        for answer in islice(_matching(read_answers(store, result), wanted), wanted.skip, wanted.skip + wanted.count):
            print(_printed(result, answer, as_json=wanted.as_json))
    return 0


def aligned(table: str) -> str:
    """Return a Markdown table with its columns under each other, for a terminal."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    if not rows:
        return table
    are_right = [cell.endswith(":") for cell in rows[1]]
    kept = [row for number, row in enumerate(rows) if number != 1]
    widths = [max(len(row[at]) for row in kept) for at in range(len(are_right))]
    return (
        "\n".join("  ".join(_padded(*each) for each in zip(row, widths, are_right, strict=True)) for row in kept) + "\n"
    )


def _padded(cell: str, width: int, is_right: bool) -> str:
    return cell.rjust(width) if is_right else cell.ljust(width)


def _results(board: Scoreboard, wanted: Wanted) -> list[Result]:
    return [
        each
        for each in board.results
        if wanted.variant in (None, each.variant) and wanted.benchmark in (None, each.benchmark)
    ]


def _matching(answers: Iterable[Answer], wanted: Wanted) -> Iterable[Answer]:
    return (
        each
        for each in answers
        if not (wanted.only_wrong and each.score > 0.5) and not (wanted.only_failed and each.failure is None)
    )


def _printed(result: Result, answer: Answer, *, as_json: bool) -> str:
    if as_json:
        told = {"variant": result.variant, "benchmark": result.benchmark, **asdict(answer)}
        return json.dumps(told, ensure_ascii=False)
    width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
    return to_text(result, answer, width)


def _nothing(mixture: str) -> int:
    print(
        f"error: nothing of {mixture} was examined that matches. Examine its students with: "
        f"python -m mmat_dagster materialize benchmark_scores --source {mixture}",
        file=sys.stderr,
    )
    return 1
