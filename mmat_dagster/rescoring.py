"""Scores outputs that others have published, or that a program has written: the command score."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmat_dagster.scoring import BENCHMARKS
from mmat_dagster.scoring.benchmark import Benchmark, Judged, Output, Scores, ScoringError, Unreadable
from mmat_dagster.scoring.statistics import Interval, bootstrap_metrics

# So many records that cannot be used are named one by one.
TOLD = 5


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is to be scored; `rule` is the version to judge by, None for the one that the outputs were made with.

    Where gold answers are needed and none are named, they are looked for in `benchmarks`, the folder of all of them.
    """

    benchmark: str
    outputs: Path
    gold: Path | None
    rule: str | None
    benchmarks: Path | None
    as_json: bool


def score(scoring: Scoring) -> int:
    """Score outputs and print the result; return the exit code."""
    benchmark = BENCHMARKS[scoring.benchmark]
    try:
        rule = _checked_rule(benchmark, scoring.rule)
        read = _read(benchmark, scoring)
        outputs = [each for each in read if isinstance(each, Output)]
        unreadable = [each for each in read if isinstance(each, Unreadable)]
        if not outputs:
            raise ScoringError(f"{scoring.outputs} holds no output of {benchmark.title}{_first(unreadable)}")
    except (ScoringError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rule = rule or benchmark.find_rule(outputs)
    judged = [
        Judged(item=each.item, verdict=benchmark.judge(each.item, each.response, each.extraction, rule))
        for each in outputs
    ]
    scores, intervals = benchmark.combine(judged), bootstrap_metrics(benchmark, judged)
    _tell_unreadable(unreadable)
    if scoring.as_json:
        print(json.dumps(_as_json(benchmark, rule, scores, intervals, len(unreadable)), indent=1, ensure_ascii=False))
    else:
        print(_as_text(benchmark, rule, scores, intervals))
    return 0


def _read(benchmark: Benchmark, scoring: Scoring) -> list[Output | Unreadable]:
    try:
        return list(benchmark.outputs(scoring.outputs, scoring.gold))
    except ScoringError:
        own = scoring.benchmarks / benchmark.name if scoring.benchmarks else None
        if scoring.gold is not None or own is None or not own.is_dir() or not scoring.outputs.exists():
            raise
        return list(benchmark.outputs(scoring.outputs, own))


def _checked_rule(benchmark: Benchmark, rule: str | None) -> str | None:
    if rule is not None and rule not in benchmark.rules:
        raise ScoringError(f"{rule!r} is no rule of {benchmark.title}: it may be {', '.join(benchmark.rules)}")
    return rule


def _tell_unreadable(unreadable: list[Unreadable]) -> None:
    for each in unreadable[:TOLD]:
        print(f"not scored: {each.where}: {each.problem}", file=sys.stderr)
    if len(unreadable) > TOLD:
        print(f"not scored: {len(unreadable) - TOLD} more records", file=sys.stderr)


def _first(unreadable: list[Unreadable]) -> str:
    return f": {unreadable[0].where}: {unreadable[0].problem}" if unreadable else ""


def _as_json(
    benchmark: Benchmark, rule: str, scores: Scores, intervals: Mapping[str, Interval], unreadable: int
) -> dict[str, object]:
    interval = intervals[benchmark.metric]
    return {
        "benchmark": benchmark.name,
        "rule": rule,
        "n": scores.n,
        "not_scored": unreadable,
        "overall": round(scores.overall, benchmark.decimals),
        "interval": [round(interval.low, benchmark.decimals), round(interval.high, benchmark.decimals)],
        "by_category": {name: round(value, benchmark.decimals) for name, value in scores.by_category.items()},
        "unrounded": dict(scores.metrics),
    }


def _as_text(benchmark: Benchmark, rule: str, scores: Scores, intervals: Mapping[str, Interval]) -> str:
    interval = intervals[benchmark.metric]
    digits = benchmark.decimals
    lines = [
        f"{benchmark.title}: {scores.overall:.{digits}f} of {benchmark.full_marks:g}"
        f"   95 % interval {interval.low:.{digits}f} to {interval.high:.{digits}f}, {scores.n:,} answers, rule: {rule}"
    ]
    others = {name: value for name, value in scores.metrics.items() if name != benchmark.metric}
    lines += [f"  {name:<40} {value:8.{digits}f}" for name, value in (*others.items(), *scores.by_category.items())]
    return "\n".join(lines)
