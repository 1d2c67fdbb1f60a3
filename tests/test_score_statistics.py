"""Intervals and significance: known values, and what must hold for any scores."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.scoring.benchmark import Judged, Scores, Verdict, percent
from mmat_dagster.scoring.sample_vqa import SampleVqa
from mmat_dagster.scoring.statistics import bootstrap, bootstrap_metrics, compare, mcnemar, wilson
from tests.examined import make_item

SCORE = st.sampled_from([0.0, 0.5, 1.0])


def test_wilson_gives_the_published_interval_of_25_in_200() -> None:
    interval = wilson(25, 200)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.086, 0.178)


def test_no_answers_say_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    assert (bootstrap([]).low, bootstrap([]).high) == (0.0, 1.0)


def test_the_bootstrap_interval_of_a_share_is_about_wilsons() -> None:
    ours, known = bootstrap([1.0] * 160 + [0.0] * 640), wilson(160, 800)
    assert ours.low == pytest.approx(known.low, abs=0.006)
    assert ours.high == pytest.approx(known.high, abs=0.006)


def test_the_bootstrap_interval_is_that_of_scores_drawn_one_by_one() -> None:
    scores = [0.0] * 70 + [0.25] * 40 + [0.6] * 30 + [1.0] * 60
    draw = Random(7)
    means = sorted(sum(draw.choices(scores, k=len(scores))) / len(scores) for _ in range(4000))
    interval = bootstrap(scores, resamples=4000)
    assert interval.low == pytest.approx(means[100], abs=0.006)
    assert interval.high == pytest.approx(means[3900], abs=0.006)


def test_the_bootstrap_draws_the_same_numbers_with_every_release_of_numpy() -> None:
    interval = bootstrap([1.0] * 160 + [0.0] * 640)
    assert (interval.low, interval.high) == (0.17375, 0.23)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_answers_that_are_all_alike_leave_a_doubt(score: float) -> None:
    judged = [Judged(item=make_item(id=str(at)), verdict=Verdict(parsed=None, score=score)) for at in range(10)]
    interval = bootstrap_metrics(SampleVqa(), judged)["accuracy"]
    assert interval.high - interval.low == pytest.approx(100 * wilson(0, 10).high)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(5, 5) == 1.0


def test_two_students_are_compared_question_by_question() -> None:
    paired = compare([1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0])
    assert (paired.only_first, paired.only_second, paired.difference) == (2, 0, 0.5)
    with pytest.raises(ValueError, match="cannot be paired"):
        compare([1.0], [])


@given(st.lists(SCORE, min_size=1, max_size=40))
def test_an_interval_holds_the_mean_and_is_the_same_again(scores: list[float]) -> None:
    interval = bootstrap(scores, resamples=200)
    assert 0.0 <= interval.low <= interval.high <= 1.0
    assert interval.low - 1e-9 <= max(scores)
    assert interval == bootstrap(scores, resamples=200)


def test_a_metric_that_is_no_mean_is_drawn_by_clusters() -> None:
    class AllOrNothing(SampleVqa):
        """Counts pairs of questions that are both right."""

        def cluster(self, item: object) -> str:
            return str(getattr(item, "facts")["pair"])  # noqa: B009

        def combine(self, judged: object) -> Scores:
            pairs: dict[str, list[float]] = {}
            for each in judged:  # type: ignore[attr-defined]
                pairs.setdefault(each.item.facts["pair"], []).append(each.verdict.score)
            both = percent([float(all(pair)) for pair in pairs.values()])
            return Scores(overall=both, n=len(pairs), by_category={}, metrics={"accuracy": both, "half": both / 2})

    judged = [
        Judged(
            item=make_item(id=f"{pair}-{number}", facts={"pair": str(pair)}),
            verdict=Verdict(parsed=None, score=float(pair % 2)),
        )
        for pair in range(20)
        for number in range(2)
    ]
    intervals = bootstrap_metrics(AllOrNothing(), judged)
    assert set(intervals) == {"accuracy", "half"}
    assert 20 < intervals["accuracy"].low < 50 < intervals["accuracy"].high < 80
