"""How sure a score is: intervals around it, and whether one student is better than another on the same questions.

    bootstrap    percentile interval of the mean over resampled questions (Efron and Tibshirani 1993, chapter 13)
    wilson       interval of a share of right answers (Wilson 1927)
    mcnemar      exact two-sided test on the questions where two students differ (McNemar 1947, binomial form)

Scores are between 0 and 1, one a question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from random import Random

import numpy as np

from mmat_dagster.scoring.benchmark import Benchmark, Judged

RESAMPLES = 2000
# Where a benchmark makes its figures otherwise than by a mean, all of them are made anew for each resample.
COMBINED_RESAMPLES = 400
SEED = 42
# The two-sided 95 % point of the normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two students on the same questions: the first one's mean less the second one's, its interval, and McNemar's p.

    `only_first` counts the questions that the first alone has right (more than half of the mark), `only_second` those
    of the second.
    """

    difference: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float


def bootstrap(scores: Sequence[float], resamples: int = RESAMPLES, seed: int = SEED) -> Interval:
    """Return the interval of the mean of `scores`; nothing and everything for no scores.

    What is drawn is how often each different score comes up, which takes no longer for more questions.
    """
    if not scores:
        return Interval(low=0.0, high=1.0)
    values, counts = np.unique(np.asarray(scores, dtype=float), return_counts=True)
    # numpy keeps this generator's numbers as they are; those of newer ones may change with its releases.
    drawn = np.random.RandomState(seed).multinomial(len(scores), counts / len(scores), size=resamples)
    return _percentiles((drawn @ values / len(scores)).tolist())


def interval_of_mean(scores: Sequence[float]) -> Interval:
    """Return the bootstrap interval of a mean; Wilson's where all answers are right or all are wrong.

    Of answers that are all alike a bootstrap draws nothing else, and would say that there is no doubt.
    """
    if set(scores) in ({0.0}, {1.0}):
        return wilson(round(sum(scores)), len(scores))
    return bootstrap(scores)


def bootstrap_metrics(benchmark: Benchmark, judged: Sequence[Judged]) -> Mapping[str, Interval]:
    """Return the interval of every metric of a benchmark, in its unit.

    What is drawn are clusters of items (`Benchmark.cluster`), since questions of one figure are not independent.
    """
    if type(benchmark).combine is Benchmark.combine:
        mean = interval_of_mean([each.verdict.score for each in judged])
        return {benchmark.metric: Interval(low=100 * mean.low, high=100 * mean.high)}
    clusters: dict[str, list[Judged]] = {}
    for each in judged:
        clusters.setdefault(benchmark.cluster(each.item), []).append(each)
    draw, pool = Random(SEED), list(clusters.values())
    found: dict[str, list[float]] = {}
    for _ in range(COMBINED_RESAMPLES):
        drawn = [each for cluster in draw.choices(pool, k=len(pool)) for each in cluster] if pool else []
        for name, value in benchmark.combine(drawn).metrics.items():
            found.setdefault(name, []).append(value)
    return {name: _percentiles(values) for name, values in found.items()}


def _percentiles(values: Sequence[float]) -> Interval:
    """Return the 2.5th and 97.5th percentile."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return Interval(low=ordered[round(0.025 * last)], high=ordered[round(0.975 * last)])


def wilson(right: int, n: int) -> Interval:
    """Return the interval of the share `right / n`; nothing and everything for n = 0."""
    if n == 0:
        return Interval(low=0.0, high=1.0)
    share, square = right / n, Z95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    reach = Z95 / (1 + square / n) * sqrt(share * (1 - share) / n + square / (4 * n**2))
    return Interval(low=max(0.0, centre - reach), high=min(1.0, centre + reach))


def compare(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compare two students' scores, question by question in the same order; raise ValueError where they do not pair."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} scores cannot be paired with {len(second)}")
    differences = [one - other for one, other in zip(first, second, strict=True)]
    pairs = [(one > 0.5, other > 0.5) for one, other in zip(first, second, strict=True)]
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    return Paired(
        difference=sum(differences) / len(differences) if differences else 0.0,
        interval=bootstrap(differences),
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value that both are equally good."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n) if n else 1.0
