"""The order of learning: every dialogue as often as its weight says, the same on every call, few parts open."""

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    for needed in ("torch", "trl", "peft"):
        pytest.importorskip(needed)

from mmat_dagster.training.process.measuring import Plan
from mmat_dagster.training.process.order import Order, order_of
from mmat_dagster.training.spec import BadRun
from tests.training_runs import training_run

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=8).filter(any)


def order(*sizes: int, weights: tuple[float, ...] | None = None, seed: int = 42, window_rows: int = 40_000) -> Order:
    """Return the order of shards of `sizes` rows, of which every third one is not usable."""
    rows = tuple(np.array([3 * row // 2 for row in range(size)], dtype=np.int32) for size in sizes)
    return Order(rows=rows, weights=weights or (1.0,) * len(sizes), seed=seed, window_rows=window_rows)


def epoch(of: Order, number: int = 0) -> list[tuple[int, int]]:
    return [of.locate(number * of.per_epoch + at) for at in range(of.per_epoch)]


def usable(of: Order) -> Counter[tuple[int, int]]:
    return Counter((shard, int(row)) for shard, rows in enumerate(of.rows) for row in rows)


@settings(max_examples=30)
@given(sizes=SIZES, seed=st.integers(0, 2**32), window_rows=st.integers(1, 30), number=st.integers(0, 3))
def test_every_usable_dialogue_comes_once_an_epoch(sizes: list[int], seed: int, window_rows: int, number: int) -> None:
    of = order(*sizes, seed=seed, window_rows=window_rows)
    assert of.per_epoch == sum(sizes)
    assert Counter(epoch(of, number)) == usable(of)


@settings(max_examples=30)
@given(
    sizes=SIZES, weight=st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]), number=st.integers(0, 2), data=st.data()
)
def test_a_weight_says_how_often_a_dialogue_comes(
    sizes: list[int], weight: float, number: int, data: st.DataObject
) -> None:
    weights = (weight, *data.draw(st.lists(st.just(1.0), min_size=len(sizes) - 1, max_size=len(sizes) - 1)))
    of = order(*sizes, weights=weights)
    if not of.per_epoch:
        return
    came = Counter(epoch(of, number))
    times = [came[0, int(row)] for row in of.rows[0]]
    assert sum(times) == round(sizes[0] * weight)
    assert all(int(weight) <= each <= int(weight) + 1 for each in times)
    assert all(came[shard, int(row)] == 1 for shard in range(1, len(sizes)) for row in of.rows[shard])


@pytest.mark.parametrize(
    ("weight", "times"), [(0.5, {0: 500, 1: 500}), (2.0, {2: 1000}), (2.5, {2: 500, 3: 500}), (0.0, {0: 1000})]
)
def test_half_a_weight_takes_half_and_two_takes_all_twice(weight: float, times: dict[int, int]) -> None:
    of = order(1000, 10, weights=(weight, 1.0))
    came = Counter(epoch(of))
    assert Counter(came[0, int(row)] for row in of.rows[0]) == times


def test_a_share_is_drawn_anew_each_epoch() -> None:
    of = order(1000, weights=(0.5,))
    first, second = set(epoch(of, 0)), set(epoch(of, 1))
    assert 200 < len(first & second) < 300


@settings(max_examples=30)
@given(sizes=SIZES, seed=st.integers(0, 2**32), place=st.integers(0, 400))
def test_an_order_is_the_same_whoever_asks_and_from_wherever_one_begins(
    sizes: list[int], seed: int, place: int
) -> None:
    one, other = order(*sizes, seed=seed, window_rows=9), order(*sizes, seed=seed, window_rows=9)
    whole = [one.locate(at) for at in range(place + 1)]
    assert other.locate(place) == whole[-1]


def test_each_epoch_and_each_seed_has_an_order_of_its_own() -> None:
    orders = [epoch(order(30, 30, seed=seed), number) for seed in (0, 1, 42) for number in (0, 1, 2)]
    assert len({tuple(each) for each in orders}) == len(orders)
    assert len({tuple(sorted(each)) for each in orders}) == 1


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=10),
    weight=st.sampled_from([0.5, 1.0, 2.5]),
    window_rows=st.integers(1, 30),
    seed=st.integers(0, 100),
)
@example(sizes=[9, 2] * 6, weight=1.0, window_rows=9, seed=0)
def test_no_more_shards_are_open_at_a_time_than_a_window_holds(
    sizes: list[int], weight: float, window_rows: int, seed: int
) -> None:
    of = order(*sizes, weights=(weight,) * len(sizes), seed=seed, window_rows=window_rows)
    for number in range(2):
        assert shards_read(epoch(of, number), of.window_shards() + 1) <= most_reads(of)


def shards_read(places: list[tuple[int, int]], kept: int) -> int:
    """Return how often a shelf that keeps `kept` shards reads one."""
    held: list[int] = []
    reads = 0
    for shard, _ in places:
        reads += shard not in held
        held = [*(each for each in held if each != shard), shard][-kept:]
    return reads


def most_reads(of: Order) -> int:
    """Each copy of a shard, whole or not, lies in one window: none is read twice for it."""
    return sum(int(np.ceil(weight)) for weight in of.weights)


def test_rows_of_a_window_are_mixed_and_windows_follow_each_other() -> None:
    of = order(*[10] * 12, window_rows=30)
    shards = [shard for shard, _ in epoch(of)]
    windows = [set(shards[at : at + 30]) for at in range(0, 120, 30)]
    assert [len(window) for window in windows] == [3, 3, 3, 3]
    assert set.union(*windows) == set(range(12))
    assert all(len(set(shards[at : at + 10])) > 1 for at in range(0, 120, 30))


def test_places_go_on_past_an_epoch_and_past_all_data() -> None:
    of = order(3, 4)
    assert (of.places(1.0), of.places(2.5), of.places(0.1), of.places(0.001)) == (7, 18, 1, 1)
    far = Counter(of.locate(at) for at in range(7 * 20))
    assert set(far.values()) == {20}
    assert set(far) == set(usable(of))


def test_a_run_hands_on_seed_weights_and_usable_rows() -> None:
    run = training_run()
    plan = Plan(rows=(np.array([0, 2], dtype=np.int32),), tokens=9, dropped=())
    of = order_of(run, plan)
    assert (of.seed, of.weights, sorted(epoch(of))) == (42, (1.0,), [(0, 0), (0, 2)])


def test_weights_that_leave_nothing_are_told() -> None:
    run = training_run()
    (item,) = run.data
    thin = replace(run, data=(replace(item, weight=0.1),))
    plan = Plan(rows=(np.array([0, 2], dtype=np.int32),), tokens=9, dropped=())
    with pytest.raises(BadRun, match=r"the weights \(tabmwp 0.1\) leave nothing of 2 dialogues"):
        order_of(thin, plan)
