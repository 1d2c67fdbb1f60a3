"""What the Dagster UI shows of benchmark scores: the paper's table, a plot, significance, failures, one transcript."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import dagster as dg

from mmat_dagster.evaluation.comparing import benchmarks_of, compare_all
from mmat_dagster.evaluation.results import SCORES, Result, Scoreboard, read_answers
from mmat_dagster.evaluation.tables import comparison_table, results_table, significance_table
from mmat_dagster.evaluation.transcripts import to_markdown
from mmat_dagster.interfaces import Store


def describe_scores(store: Store, board: Scoreboard, missing: Mapping[str, str], reused: int) -> dict[str, Any]:
    """Return the metadata of one materialization."""
    last = board.results[-1]
    answers = read_answers(store, last)
    return {
        "scores": dg.MetadataValue.md(comparison_table(board)),
        "plot": dg.MetadataValue.md(
            f"![scores](data:image/png;base64,{base64.b64encode(draw_scores(board)).decode()})"
        ),
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
    # A second of imports, and only this picture needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    benchmarks = benchmarks_of(board)
    variants = list(dict.fromkeys(result.variant for result in board.results))
    figure = Figure(figsize=(max(5.0, 1.6 + 0.45 * len(benchmarks) * (len(variants) + 1)), 3.6), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.8 / len(variants)
    for index, variant in enumerate(variants):
        results = [each for each in board.results if each.variant == variant]
        places = [benchmarks.index(each.benchmark) + (index - (len(variants) - 1) / 2) * width for each in results]
        shares = [_percent(each, each.overall.value) for each in results]
        reach = [[_reach(each)[side] for each in results] for side in (0, 1)]
        axes.bar(places, shares, width * 0.92, yerr=reach, label=variant, error_kw={"elinewidth": 0.8})
    titles = {result.benchmark: result.title for result in board.results}
    axes.set_xticks(range(len(benchmarks)), [titles[name].replace(" (", "\n(") for name in benchmarks], fontsize=8)
    axes.set_ylabel("% of full marks, 95 % interval", fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8, frameon=False, ncols=min(4, len(variants)), loc="upper left")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


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
