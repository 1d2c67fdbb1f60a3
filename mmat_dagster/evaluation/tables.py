"""Results as people read them: the comparison table in the paper's form, significance, what went wrong."""

from collections.abc import Mapping, Sequence

from mmat_dagster.evaluation.comparing import Comparison, average, benchmarks_of
from mmat_dagster.evaluation.results import Result, Scoreboard


def comparison_table(board: Scoreboard) -> str:
    """Return a Markdown table: a line for each variant, a column for each benchmark, intervals in brackets."""
    benchmarks = benchmarks_of(board)
    titles = {result.benchmark: result.title for result in board.results}
    head = ["student", "avg", *(titles[name] for name in benchmarks)]
    lines = [head, ["---", *["---:"] * (len(benchmarks) + 1)]]
    for variant in dict.fromkeys(result.variant for result in board.results):
        results = {each.benchmark: each for each in board.results if each.variant == variant}
        mean = average([*results.values()])
        scores = [_score(results[name]) if name in results else "" for name in benchmarks]
        lines.append([variant, "" if mean is None else f"{mean:.1f}", *scores])
    return _markdown(lines)


def significance_table(comparisons: Sequence[Comparison]) -> str:
    """Return who is better than whom: the difference in points of percent, its interval, McNemar's p."""
    lines = [
        ["benchmark", "students", "n", "difference", "95 % interval", "only the first right", "only the second", "p"],
        ["---", "---", *["---:"] * 6],
    ]
    for each in comparisons:
        paired = each.paired
        lines.append(
            [
                each.title,
                f"{each.first} against {each.second}",
                f"{each.n:,}",
                f"{100 * paired.difference:+.1f}",
                f"{100 * paired.interval.low:+.1f} to {100 * paired.interval.high:+.1f}",
                str(paired.only_first),
                str(paired.only_second),
                f"{paired.p_value:.2g}",
            ]
        )
    return _markdown(lines) if comparisons else "One student alone: nobody to compare it with."


def results_table(results: Sequence[Result]) -> str:
    """Return a line for each result: score, failures, calls, tokens, seconds."""
    lines = [
        ["student", "benchmark", "rule", "n", "score", "failures", "calls", "tokens in", "tokens out", "seconds"],
        ["---", "---", "---", "---:", "---:", "---", "---", *["---:"] * 3],
    ]
    return _markdown([*lines, *map(_result_line, results)])


def _result_line(result: Result) -> list[str]:
    not_asked = f", {len(result.unreadable)} not asked" if result.unreadable else ""
    return [
        result.variant,
        result.title,
        result.rule,
        f"{result.n:,}",
        _score(result),
        _counts(result.failures) + not_asked,
        _counts(result.calls),
        f"{result.prompt_tokens:,}",
        f"{result.completion_tokens:,}",
        f"{result.seconds:,.0f}",
    ]


def _score(result: Result) -> str:
    figure = result.overall
    return f"{figure.value:.1f} ({figure.interval.low:.1f}–{figure.interval.high:.1f})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
