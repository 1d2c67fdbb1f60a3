"""Benchmarks scored as the project does it: outputs read, the rule found, every output judged, verdicts combined."""

import random
from collections.abc import Sequence
from pathlib import Path

from mmat_dagster.scoring.benchmark import Benchmark, Item, Judged, Output, Scores, Unreadable

PUBLISHED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "benchmarks"


def read_outputs(benchmark: Benchmark, path: Path, gold: Path | None = None) -> list[Output]:
    """Return all outputs of a file; fail where one is unreadable."""
    found = list(benchmark.outputs(path, gold))
    assert [each for each in found if isinstance(each, Unreadable)] == []
    return [each for each in found if isinstance(each, Output)]


def score_outputs(benchmark: Benchmark, outputs: Sequence[Output], rule: str | None = None) -> Scores:
    """Score outputs by a rule, the one that made them for None."""
    used = rule or benchmark.find_rule(outputs)
    return benchmark.combine(
        [
            Judged(item=each.item, verdict=benchmark.judge(each.item, each.response, each.extraction, used))
            for each in outputs
        ]
    )


def score_file(benchmark: Benchmark, path: Path, gold: Path | None = None, rule: str | None = None) -> Scores:
    """Score a published file."""
    return score_outputs(benchmark, read_outputs(benchmark, path, gold), rule)


def shuffled(outputs: list[Output]) -> list[Output]:
    """Return outputs in another order, the same one every time."""
    return random.Random(7).sample(outputs, len(outputs))


def items_of(benchmark: Benchmark, folder: Path) -> list[Item]:
    """Return all items; fail where one is unreadable."""
    found = list(benchmark.items(folder))
    assert [each for each in found if isinstance(each, Unreadable)] == []
    return [each for each in found if isinstance(each, Item)]


def problems_of(found: list[Item | Output | Unreadable]) -> list[str]:
    """Return what is told of the unreadable."""
    return [f"{each.where}: {each.problem}" for each in found if isinstance(each, Unreadable)]
