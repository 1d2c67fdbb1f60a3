"""What the Dagster UI shows of benchmark scores: the paper's table, a plot, significance, failures, one transcript."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from mmat_dagster import plotting
from mmat_dagster.evaluation.comparing import benchmarks_of, compare_all
from mmat_dagster.evaluation.results import SCORES, Result, Scoreboard, read_answers
from mmat_dagster.evaluation.tables import comparison_table, results_table, significance_table
from mmat_dagster.evaluation.transcripts import to_markdown
from mmat_dagster.interfaces import Store
from mmat_dagster.markdown import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT_PX = 396


def describe_scores(store: Store, board: Scoreboard, missing: Mapping[str, str], reused: int) -> dict[str, Any]:
    """Return the metadata of one materialization."""
    last = board.results[-1]
    answers = read_answers(store, last)
    return {
        "scores": dg.MetadataValue.md(comparison_table(board)),
        "plot": dg.MetadataValue.md(picture("scores", draw_scores(board), "png")),
        "significance": dg.MetadataValue.md(significance_table(compare_all(store, board))),
        "results": dg.MetadataValue.md(results_table(board.results)),
        "examined": len(board.results) - reused,
        "reused": reused,
        **({"not_examined": dg.MetadataValue.md(_reasons(missing))} if missing else {}),
        **{f"{result.benchmark}_{result.variant}".replace(" ", "_"): result.overall.value for result in board.results},
        "transcript": dg.MetadataValue.md(to_markdown(last, answers[0])),
        "location": dg.MetadataValue.path(store.locate(f"{SCORES}/{board.mixture}")),
    }


def draw_scores(board: Scoreboard) -> bytes:
    """Return a bar plot as a PNG: a group of bars for each benchmark, a bar with its interval for each student."""
    benchmarks = benchmarks_of(board)
    variants = list(dict.fromkeys(result.variant for result in board.results))
    width_px = max(550, 176 + 50 * len(benchmarks) * (len(variants) + 1))
    return plotting.draw(width_px, HEIGHT_PX, partial(_paint, board, benchmarks, variants))


def _paint(board: Scoreboard, benchmarks: Sequence[str], variants: Sequence[str], figure: "Figure") -> None:
    axes = figure.subplots()
    width = 0.8 / len(variants)
    for index, variant in enumerate(variants):
        results = [each for each in board.results if each.variant == variant]
        places = [benchmarks.index(each.benchmark) + (index - (len(variants) - 1) / 2) * width for each in results]
        shares = [_percent(each, each.overall.value) for each in results]
        reach = [[_reach(each)[side] for each in results] for side in (0, 1)]
        axes.bar(places, shares, width * 0.92, yerr=reach, label=variant, error_kw={"elinewidth": 0.8})
    titles = {result.benchmark: result.title for result in board.results}
    names = [titles[name].replace(" (", "\n(") for name in benchmarks]
    plotting.tidy(axes, "% of full marks, 95 % interval")
    axes.set_xticks(range(len(benchmarks)), names, fontsize=plotting.TEXT_PT)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=plotting.TEXT_PT, frameon=False, ncols=min(4, len(variants)), loc="upper left")


def _percent(result: Result, value: float) -> float:
    return 100 * value / result.full_marks


def _reach(result: Result) -> tuple[float, float]:
    figure = result.overall
    below = max(0.0, figure.value - figure.interval.low)
    above = max(0.0, figure.interval.high - figure.value)
    return _percent(result, below), _percent(result, above)


def _reasons(missing: Mapping[str, str]) -> str:
    rows = "".join(f"| {name} | {why} |\n" for name, why in missing.items())
    return f"| student or benchmark | why |\n|---|---|\n{rows}"
