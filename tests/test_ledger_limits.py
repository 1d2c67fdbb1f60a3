"""Rate limits: what a bucket lets through, and one bucket for all who share a ledger."""

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from mmat_dagster.ledger import tables
from mmat_dagster.ledger.books import Books
from mmat_dagster.ledger.buckets import BURST_S, PAUSE_S, RECOVERY_S, SLOWED, Bucket, Limits, RateSeen
from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.ledger.orders import Resend, Settle, SlowDown
from tests import postgres
from tests.ledgers import make_admit, make_key, make_reply, make_settle, make_terms, neighbours, opened

ledger_url = postgres.ledger_url

NOW = 1_763_900_000.0
PER_MINUTE = st.floats(min_value=0.5, max_value=1e7)
TOKENS = st.floats(min_value=0, max_value=1e6)
SECONDS = st.floats(min_value=0, max_value=7200)
MAYBE = st.none() | PER_MINUTE
LIMITS = st.builds(Limits, name=st.just("m"), requests_per_minute=MAYBE, tokens_per_minute=MAYBE)
LEFT = st.none() | TOKENS
SEEN = st.builds(RateSeen, requests_per_minute=MAYBE, tokens_per_minute=MAYBE, requests_left=LEFT, tokens_left=LEFT)
# What can happen to a bucket: its name and how much.
EVENTS = st.lists(
    st.tuples(st.sampled_from(["pass", "send", "correct", "slow"]), st.floats(min_value=0, max_value=1e5))
    | st.tuples(st.just("heed"), SEEN)
    | st.tuples(st.just("limit"), LIMITS),
    max_size=30,
)


def happen(bucket: Bucket, events: list[tuple[str, object]], limits: Limits) -> None:
    """Let events happen to a bucket, one after the other."""
    for name, what in events:
        if isinstance(what, RateSeen):
            bucket.heed(what, limits)
        elif isinstance(what, Limits):
            bucket.limit(what)
        elif isinstance(what, float):
            step(bucket, name, what)


def step(bucket: Bucket, name: str, amount: float) -> None:
    """Let time pass, send a request if it may be sent, correct its tokens, or heed a 429."""
    if name == "pass":
        bucket.refill(bucket.refilled_at + amount)
    elif name == "correct":
        bucket.correct(amount)
    elif name == "slow":
        bucket.slow_down(bucket.refilled_at, amount)
    elif bucket.wait_s(amount) == 0:
        bucket.take(amount)


@given(limits=LIMITS, events=EVENTS)
def test_a_bucket_never_holds_more_than_its_limits(limits: Limits, events: list[tuple[str, object]]) -> None:
    bucket = Bucket.full(limits, NOW)
    for event in events:
        happen(bucket, [event], limits)
        assert bucket.requests_per_minute is None or bucket.requests <= bucket.requests_per_minute
        assert bucket.tokens_per_minute is None or bucket.tokens <= bucket.tokens_per_minute
        assert 0.1 <= bucket.pace <= 1.0
        assert bucket.wait_s(1.0) >= 0.0


@given(limits=LIMITS, events=EVENTS, passed=st.floats(min_value=-7200, max_value=7200))
@example(limits=Limits(name="m"), events=[("correct", 1.0)], passed=1.0)
def test_time_takes_nothing_out_of_a_bucket_even_when_the_clock_goes_back(
    limits: Limits, events: list[tuple[str, object]], passed: float
) -> None:
    bucket = Bucket.full(limits, NOW)
    happen(bucket, events, limits)
    before = replace(bucket)
    bucket.refill(bucket.refilled_at + passed)
    assert bucket.requests >= before.requests
    assert bucket.tokens >= before.tokens
    assert bucket.pace >= before.pace


@given(limits=LIMITS, events=EVENTS, tokens=TOKENS)
def test_a_request_fits_when_it_has_waited_as_long_as_it_was_told(
    limits: Limits, events: list[tuple[str, object]], tokens: float
) -> None:
    """Also one that is larger than the whole bucket."""
    bucket = Bucket.full(limits, NOW)
    happen(bucket, events, limits)
    bucket.refill(bucket.refilled_at + bucket.wait_s(tokens))
    assert bucket.wait_s(tokens) < 0.01


@given(limits=LIMITS, events=EVENTS, tokens=TOKENS)
def test_an_unknown_limit_holds_nobody_up(limits: Limits, events: list[tuple[str, object]], tokens: float) -> None:
    bucket = Bucket.full(Limits(name="m"), NOW)
    happen(bucket, [event for event in events if event[0] in ("pass", "send", "correct")], Limits(name="m"))
    assert bucket.wait_s(tokens) == 0.0


def test_a_bucket_lets_a_minutes_worth_through_and_then_one_after_the_other() -> None:
    bucket = Bucket.full(Limits(name="m", requests_per_minute=60.0), NOW)
    for _ in range(60):
        assert bucket.wait_s(1.0) == 0.0
        bucket.take(1.0)
    assert bucket.wait_s(1.0) == pytest.approx(1.0)


def test_a_request_larger_than_the_bucket_goes_when_it_is_full_and_the_next_waits_for_it() -> None:
    bucket = Bucket.full(Limits(name="m", tokens_per_minute=600.0), NOW)
    assert bucket.wait_s(1800.0) == 0.0
    bucket.take(1800.0)
    assert bucket.wait_s(0.0) == pytest.approx(120.0)
    assert bucket.wait_s(5000.0) == pytest.approx(180.0)


def test_headers_seed_limits_that_nobody_configured() -> None:
    bucket = Bucket.full(Limits(name="m"), NOW)
    for _ in range(1000):
        bucket.take(500.0)
    bucket.refill(NOW + 60.0)
    seen = RateSeen(requests_per_minute=500.0, tokens_per_minute=30_000.0, requests_left=499.0, tokens_left=29_000.0)
    bucket.heed(seen, Limits(name="m"))
    assert (bucket.requests, bucket.tokens) == (499.0, 29_000.0)
    assert (bucket.requests_per_minute, bucket.tokens_per_minute) == (500.0, 30_000.0)


def test_headers_correct_a_bucket_downwards_and_never_upwards() -> None:
    limits = Limits(name="m", requests_per_minute=100.0, tokens_per_minute=1000.0)
    bucket = Bucket.full(limits, NOW)
    bucket.heed(RateSeen(requests_left=10.0, tokens_left=200.0), limits)
    assert (bucket.requests, bucket.tokens) == (10.0, 200.0)
    bucket.heed(RateSeen(requests_left=90.0, tokens_left=900.0), limits)
    assert (bucket.requests, bucket.tokens) == (10.0, 200.0)


def test_what_is_configured_caps_what_a_provider_allows() -> None:
    limits = Limits(name="m", requests_per_minute=100.0, tokens_per_minute=1000.0)
    bucket = Bucket.full(limits, NOW)
    bucket.heed(RateSeen(requests_per_minute=5000.0, tokens_per_minute=400.0), limits)
    assert (bucket.requests_per_minute, bucket.tokens_per_minute) == (100.0, 400.0)
    assert bucket.tokens == 400.0


def test_tokens_that_were_expected_too_many_come_back() -> None:
    bucket = Bucket.full(Limits(name="m", tokens_per_minute=1000.0), NOW)
    bucket.take(800.0)
    bucket.correct(300.0)
    assert bucket.tokens == 500.0
    bucket.correct(-700.0)
    assert bucket.tokens == -200.0


def test_a_429_pauses_all_and_slows_the_refill_down_until_it_has_recovered() -> None:
    bucket = Bucket.full(Limits(name="m", requests_per_minute=60.0), NOW)
    bucket.slow_down(NOW, 7.0)
    assert (bucket.wait_s(1.0), bucket.pace) == (7.0, SLOWED)
    bucket.slow_down(NOW + 1, None)
    assert (bucket.paused_until, bucket.pace) == (NOW + 7, SLOWED)  # the same burst
    bucket.slow_down(NOW + BURST_S + 0.5, None)
    assert bucket.pace == SLOWED**2
    bucket.refill(NOW + 7)
    assert bucket.wait_s(1.0) == 0.0
    bucket.refill(NOW + 2 * RECOVERY_S)
    assert bucket.pace == 1.0


def test_a_429_that_does_not_say_how_long_pauses_a_moment() -> None:
    bucket = Bucket.full(Limits(name="m"), NOW)
    bucket.slow_down(NOW, None)
    assert bucket.wait_s(0.0) == PAUSE_S


def test_endless_429s_do_not_stop_the_refill() -> None:
    bucket = Bucket.full(Limits(name="m", requests_per_minute=60.0), NOW)
    for number in range(100):
        bucket.slow_down(NOW + 3 * number, 1.0)
    assert bucket.pace == 0.1


def limited(**limits: float) -> Limits:
    """Return limits of the bucket that these tests share."""
    return Limits(name="shared", **limits)


async def admitted_at_once(ledgers: list[Ledger], limits: Limits, count: int) -> int:
    """Let every ledger ask for `count` requests at once; return how many were let through in a moment.

    On a busy machine the moment may be too short: who asks this is marked as `alone`.
    """
    terms = make_terms(limits)
    orders = [(ledger, make_admit(1000 * i + j, terms)) for i, ledger in enumerate(ledgers) for j in range(count)]
    tasks = [asyncio.create_task(ledger.admit(order)) for ledger, order in orders]
    done, waiting = await asyncio.wait(tasks, timeout=0.25)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return len(done)


@pytest.mark.alone
async def test_two_sessions_share_a_bucket(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        assert await admitted_at_once([first, second], limited(requests_per_minute=20.0), 20) == 20


async def test_processes_together_never_get_more_than_the_limit(ledger_url: str) -> None:
    """60 a minute are 60 at once and one a second."""
    with neighbours(ledger_url, 2) as others, opened(ledger_url) as ledger:
        begun = await ledger.call(lambda books: books.now)
        for number, other in enumerate(others):
            other.tell("storm", 1000 * number, 100, 60)
        heard = [int(await asyncio.to_thread(other.hear)) for other in others]
        ended = await ledger.call(lambda books: books.now)
        with ledger.database.read() as connection:
            claims = connection.execute(sa.select(sa.func.count()).select_from(tables.claims)).scalar_one()
    assert 0 < sum(heard) <= claims <= 60 + (ended - begun) + 1


async def test_requests_go_in_the_order_in_which_they_came(ledger_url: str) -> None:
    terms = make_terms(limited(requests_per_minute=1800.0))
    gone: list[int] = []

    async def ask(number: int) -> None:
        await ledger.admit(make_admit(number, terms))
        gone.append(number)

    with opened(ledger_url) as ledger:
        await ledger.call(lambda books: _leave(books, terms.limits, 0.0))
        await asyncio.gather(*(ask(number) for number in range(8)))
    assert gone == list(range(8))


def _leave(books: Books, limits: Limits, requests: float) -> None:
    books.bucket(limits).requests = requests


async def test_a_small_request_does_not_overtake_a_large_one(ledger_url: str) -> None:
    terms = make_terms(limited(tokens_per_minute=60_000.0))
    with opened(ledger_url) as ledger:
        await ledger.admit(make_admit(0, terms, tokens=60_000.0))
        large = asyncio.create_task(ledger.admit(make_admit(1, terms, tokens=300.0)))
        small = asyncio.create_task(ledger.admit(make_admit(2, terms, tokens=1.0)))
        done, _ = await asyncio.wait([large, small], return_when=asyncio.FIRST_COMPLETED)
        assert large in done
        assert await small is None


async def test_after_a_429_nobody_sends_while_the_pause_lasts(ledger_url: str) -> None:
    terms = make_terms(limited())
    with opened(ledger_url) as first, opened(ledger_url) as second:
        await first.do(SlowDown(terms=terms, tokens=0.0, after_s=30.0))
        tasks = [
            asyncio.create_task(second.admit(make_admit(1, terms))),
            asyncio.create_task(first.do(Resend(terms=terms, tokens=0.0))),
        ]
        assert not (await asyncio.wait(tasks, timeout=0.25))[0]
        for task in tasks:
            task.cancel()
        assert await second.admit(make_admit(1)) is None  # another model's bucket


async def test_after_a_short_pause_it_goes_on(ledger_url: str) -> None:
    terms = make_terms(limited())
    with opened(ledger_url) as ledger:
        await ledger.do(SlowDown(terms=terms, tokens=0.0, after_s=0.3))
        await ledger.do(Resend(terms=terms, tokens=0.0))
        assert await ledger.admit(make_admit(1, terms)) is None


async def test_a_reply_that_is_stored_needs_no_limits(ledger_url: str) -> None:
    terms = make_terms(limited())
    with opened(ledger_url) as ledger:
        await ledger.do(make_settle(1, terms))
        await ledger.do(SlowDown(terms=terms, tokens=0.0, after_s=30.0))
        assert await ledger.admit(make_admit(1, terms)) == make_reply(1)


@pytest.mark.alone
async def test_limits_persist_and_a_changed_configuration_counts(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        assert await admitted_at_once([ledger], limited(requests_per_minute=5.0), 8) == 5
    with opened(ledger_url) as ledger:
        assert await admitted_at_once([ledger], limited(requests_per_minute=5.0), 8) == 0
        assert await admitted_at_once([ledger], limited(), 8) == 0
        bucket = await ledger.call(lambda books: replace(books.bucket(limited(requests_per_minute=6000.0))))
        assert bucket.requests_per_minute == 6000.0
        assert await admitted_at_once([ledger], limited(requests_per_minute=6000.0), 8) == 8


async def test_limits_that_a_reply_tells_are_kept_for_all(ledger_url: str) -> None:
    seen = RateSeen(requests_per_minute=500.0, requests_left=3.0)
    terms = make_terms(limited())
    with opened(ledger_url) as first, opened(ledger_url) as second:
        order = Settle(key=make_key(99), terms=terms, tokens=0.0, reserve_usd=0.0, reply=make_reply(99), seen=seen)
        await first.do(order)
        bucket = await second.call(lambda books: replace(books.bucket(limited())))
        assert bucket.requests_per_minute == 500.0
        assert 3.0 <= bucket.requests < 100.0


async def test_the_tokens_of_a_reply_correct_what_was_taken(ledger_url: str) -> None:
    terms = make_terms(limited(tokens_per_minute=0.5))
    with opened(ledger_url) as ledger:
        await ledger.call(lambda books: books.bucket(terms.limits).take(1000.0))
        await ledger.do(Settle(key=make_key(1), terms=terms, tokens=1000.0, reserve_usd=0.0, reply=make_reply(1)))
        bucket = await ledger.call(lambda books: replace(books.bucket(terms.limits)))
        assert bucket.tokens == pytest.approx(0.5 - 110, abs=0.5)
