"""Students beside each other: the table of the paper's form, and who is better than whom on the same questions.

The average is the paper's: over the eight benchmarks, OCRBench's 0..1000 divided by 10; where not all eight were
asked, it is over none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mmat_dagster.evaluation.results import Result, Scoreboard, read_answers
from mmat_dagster.interfaces import Store
from mmat_dagster.scoring.statistics import Paired, compare

# The benchmarks of the paper's average, in its order; MMAT-1M (arXiv 2507.21924), main table.
AVERAGED = ("mmstar", "mmmu", "mathvista", "mathvision", "ai2d", "ocrbench", "realworldqa", "hallusionbench")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One student against another on the questions of a benchmark that both were asked."""

    benchmark: str
    title: str
    first: str
    second: str
    n: int
    paired: Paired


def compare_all(store: Store, board: Scoreboard) -> list[Comparison]:
    """Compare every variant with `base`, and `rr` with `orr`, on every benchmark that both were asked."""
    variants = list(dict.fromkeys(result.variant for result in board.results))
    pairs = [(name, "base") for name in variants if name != "base"]
    pairs += [("rr", name) for name in variants if name not in ("rr", "base")]
    found = [_comparison(store, board, benchmark, *pair) for benchmark in benchmarks_of(board) for pair in pairs]
    return [each for each in found if each is not None]


def average(results: Sequence[Result]) -> float | None:
    """Return the paper's average of one variant's results, in percent; None where one of the eight is missing."""
    scores = {result.benchmark: 100 * result.overall.value / result.full_marks for result in results}
    if any(name not in scores for name in AVERAGED):
        return None
    return sum(scores[name] for name in AVERAGED) / len(AVERAGED)


def benchmarks_of(board: Scoreboard) -> list[str]:
    """Return the benchmarks that were asked: the paper's in its order, then the others."""
    asked = dict.fromkeys(result.benchmark for result in board.results)
    return sorted(asked, key=lambda name: AVERAGED.index(name) if name in AVERAGED else len(AVERAGED))


def _comparison(store: Store, board: Scoreboard, benchmark: str, first: str, second: str) -> Comparison | None:
    results = {each.variant: each for each in board.results if each.benchmark == benchmark}
    if first not in results or second not in results:
        return None
    ours = {each.item: each.score for each in read_answers(store, results[first])}
    theirs = {each.item: each.score for each in read_answers(store, results[second])}
    both = [item for item in ours if item in theirs]
    paired = compare([ours[item] for item in both], [theirs[item] for item in both])
    title = results[first].title
    return Comparison(benchmark=benchmark, title=title, first=first, second=second, n=len(both), paired=paired)
