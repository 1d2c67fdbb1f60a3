"""Money in the ledger: reserved before sending, settled by what it cost, and never more than the budget."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.interfaces import BudgetReached
from mmat_dagster.ledger.accounts import Account, Budget, Paid
from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.ledger.orders import StoredReply, Withdraw
from tests import postgres
from tests.ledgers import RUN, make_admit, make_key, make_reply, make_settle, make_terms, neighbour, opened, pour

ledger_url = postgres.ledger_url

# Longer than anybody sleeps before looking again.
A_WHILE_S = 0.25

USD = st.integers(min_value=0, max_value=400).map(lambda sixteenths: sixteenths / 16)


def money(ledger: Ledger, run_id: str | None = None) -> tuple[float, float, float]:
    """Return what is spent, reserved and lost."""
    account = ledger.account(run_id)
    return account.spent_usd, account.reserved_usd, account.lost_usd


@contextmanager
def two(url: str) -> Iterator[tuple[Ledger, Ledger]]:
    """Open the ledger for two sessions."""
    with opened(url) as first, opened(url) as second:
        yield first, second


async def still_waits(task: "asyncio.Task[StoredReply | None]") -> bool:
    """Say whether a task has not ended after a while."""
    await asyncio.sleep(A_WHILE_S)
    return not task.done()


async def test_the_upper_bound_is_reserved_until_the_price_is_known(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        assert money(ledger) == (0.0, 0.0, 0.0)
        await ledger.admit(make_admit(1, usd=0.5))
        assert money(ledger) == money(ledger, RUN) == (0.0, 0.5, 0.0)
        await ledger.do(make_settle(1, reserved=0.5, usd=0.125))
        assert money(ledger) == money(ledger, RUN) == (0.125, 0.0, 0.0)


async def test_an_account_counts_calls_and_tokens_by_run_and_in_all(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        assert await pour(ledger, 0, 3, make_terms(run_id="one")) == 3
        assert await pour(ledger, 10, 2, make_terms(run_id="two")) == 2
    with opened(ledger_url) as ledger:
        calls = [ledger.account(run_id).calls for run_id in ("one", "two", None, "three")]
        assert calls == [3, 2, 5, 0]
        total = ledger.account()
        assert (total.prompt_tokens, total.cached_tokens, total.completion_tokens) == (500, 100, 50)
        assert (total.spent_usd, ledger.account("one").spent_usd) == (1.25, 0.75)


async def test_a_withdrawn_request_gives_its_money_back(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        await ledger.admit(make_admit(1, usd=0.5))
        for _ in range(2):
            await ledger.do(Withdraw(key=make_key(1), is_lost=False))
        assert money(ledger) == money(ledger, RUN) == (0.0, 0.0, 0.0)


async def test_a_request_that_nobody_saw_the_end_of_is_lost_at_its_upper_bound(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        await ledger.admit(make_admit(1, usd=0.5))
        for _ in range(2):
            await ledger.do(Withdraw(key=make_key(1), is_lost=True))
        assert money(ledger) == money(ledger, RUN) == (0.0, 0.0, 0.5)
        assert ledger.account().lost_calls == 1


async def test_a_reply_without_a_price_counts_its_tokens(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        await ledger.admit(make_admit(1))
        await ledger.do(make_settle(1))
        assert (ledger.account().spent_usd, ledger.account().prompt_tokens) == (0.0, 100)


async def test_nothing_is_reserved_for_a_request_that_is_answered_already(ledger_url: str) -> None:
    with two(ledger_url) as (first, second):
        await first.do(make_settle(1, usd=0.125))
        assert await second.admit(make_admit(1, usd=0.5)) == make_reply(1, usd=0.125)
        assert money(second) == (0.125, 0.0, 0.0)


@pytest.mark.parametrize(
    ("budget", "whose", "field"),
    [
        (Budget(total_usd=1.0), "in all", "budget_usd"),
        (Budget(run_usd=1.0, total_usd=9.0), "for this run", "budget_usd_per_run"),
    ],
)
async def test_a_request_over_the_budget_is_refused_with_the_figures(
    ledger_url: str, budget: Budget, whose: str, field: str
) -> None:
    said = (
        f"the budget of $1 {whose} is reached: $0.7500 spent on 1 calls, and the next one may cost $0.5000. "
        f"Every reply is kept: raise `{field}` and run again"
    )
    terms = make_terms(budget=budget)
    with opened(ledger_url) as ledger:
        await ledger.do(make_settle(1, terms, usd=0.75))
        with pytest.raises(BudgetReached, match=re.escape(said)):
            await ledger.admit(make_admit(2, terms, usd=0.5))
        assert await ledger.admit(make_admit(3, terms, usd=0.25)) is None
        assert money(ledger) == (0.75, 0.25, 0.0)


async def test_a_budget_of_a_run_does_not_bind_another_run(ledger_url: str) -> None:
    budget = Budget(run_usd=1.0)
    with opened(ledger_url) as ledger:
        await ledger.do(make_settle(1, make_terms(budget=budget), usd=1.0))
        with pytest.raises(BudgetReached):
            await ledger.admit(make_admit(2, make_terms(budget=budget), usd=0.5))
        assert await ledger.admit(make_admit(2, make_terms(budget=budget, run_id="run-2"), usd=0.5)) is None


async def test_a_raised_budget_lets_the_same_request_through(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        await ledger.do(make_settle(1, usd=1.0))
        with pytest.raises(BudgetReached):
            await ledger.admit(make_admit(2, make_terms(budget=Budget(total_usd=1.0)), usd=0.5))
        assert await ledger.admit(make_admit(2, make_terms(budget=Budget(total_usd=2.0)), usd=0.5)) is None


async def test_what_was_lost_counts_as_spent(ledger_url: str) -> None:
    terms = make_terms(budget=Budget(total_usd=1.0))
    with opened(ledger_url) as ledger:
        await ledger.admit(make_admit(1, terms, usd=0.75))
        await ledger.do(Withdraw(key=make_key(1), is_lost=True))
        with pytest.raises(BudgetReached, match=r"\$0\.0000 spent on 0 calls and up to \$0\.7500 lost in flight"):
            await ledger.admit(make_admit(2, terms, usd=0.5))


@pytest.mark.parametrize("budget", [Budget(total_usd=1.0), Budget(run_usd=1.0)], ids=["total", "run"])
async def test_near_the_cap_a_request_waits_for_what_others_hold_reserved(ledger_url: str, budget: Budget) -> None:
    terms = make_terms(budget=budget)
    with two(ledger_url) as (first, second):
        assert await first.admit(make_admit(1, terms, usd=0.75)) is None
        waiting = asyncio.create_task(second.admit(make_admit(2, terms, usd=0.5)))
        assert await still_waits(waiting)
        await first.do(make_settle(1, terms, reserved=0.75, usd=0.25))
        assert await waiting is None
        assert money(second) == (0.25, 0.5, 0.0)


async def test_who_waited_near_the_cap_is_refused_when_the_others_have_spent_it(ledger_url: str) -> None:
    terms = make_terms(budget=Budget(total_usd=1.0))
    with two(ledger_url) as (first, second):
        assert await first.admit(make_admit(1, terms, usd=0.75)) is None
        waiting = asyncio.create_task(second.admit(make_admit(2, terms, usd=0.5)))
        await asyncio.sleep(0.1)
        await first.do(make_settle(1, terms, reserved=0.75, usd=0.75))
        with pytest.raises(BudgetReached, match=r"\$0\.7500 spent"):
            await waiting


async def test_who_asks_what_another_one_is_asking_gets_the_reply_although_nothing_is_left(ledger_url: str) -> None:
    terms = make_terms(budget=Budget(total_usd=1.0))
    with two(ledger_url) as (first, second):
        assert await first.admit(make_admit(1, terms, usd=0.75)) is None
        waiting = asyncio.create_task(second.admit(make_admit(1, terms, usd=0.75)))
        assert await still_waits(waiting)
        await first.do(make_settle(1, terms, reserved=0.75, usd=0.75))
        assert await waiting == make_reply(1, usd=0.75)


async def test_who_waits_for_another_ones_reply_holds_nothing_reserved(ledger_url: str) -> None:
    with two(ledger_url) as (first, second):
        await first.admit(make_admit(1, usd=0.5))
        waiting = asyncio.create_task(second.admit(make_admit(1, usd=0.5)))
        assert await still_waits(waiting)
        assert money(first) == (0.0, 0.5, 0.0)
        await first.do(make_settle(1, reserved=0.5))
        await waiting
        assert money(first) == (0.0, 0.0, 0.0)


async def test_a_cheap_request_goes_although_a_dear_one_was_refused(ledger_url: str) -> None:
    terms = make_terms(budget=Budget(total_usd=1.0))
    with opened(ledger_url) as ledger:
        dear, cheap = await asyncio.gather(
            ledger.admit(make_admit(1, terms, usd=2.0)),
            ledger.admit(make_admit(2, terms, usd=0.5)),
            return_exceptions=True,
        )
        assert isinstance(dear, BudgetReached)
        assert cheap is None


async def test_many_at_once_never_spend_more_than_the_budget(ledger_url: str) -> None:
    """Each may cost half a dollar and costs a quarter."""
    terms = make_terms(budget=Budget(total_usd=10.0))
    with two(ledger_url) as ledgers:
        outcomes = await asyncio.gather(
            *(pour(ledgers[number % 2], number, 1, terms) for number in range(60)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, BudgetReached)]
        assert len(refused) == outcomes.count(1) - 18 == 21
        assert money(ledgers[0]) == (9.75, 0.0, 0.0)


async def test_a_real_process_is_refused_by_what_this_one_has_spent(ledger_url: str) -> None:
    with opened(ledger_url) as ledger, neighbour(ledger_url) as other:
        await ledger.do(make_settle(1, usd=0.75))
        assert other.do("admit", 2, 0.5, 1.0).startswith("BudgetReached: the budget of $1 in all")
        assert other.do("admit", 2, 0.25, 1.0) == "send"


async def test_cents_add_up_over_many_small_transactions(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        for number in range(50):
            await ledger.admit(make_admit(number, usd=0.1))
            await ledger.do(make_settle(number, reserved=0.1, usd=0.01))
        assert ledger.account().spent_usd == pytest.approx(0.5, abs=1e-12)
        assert ledger.account().reserved_usd == pytest.approx(0.0, abs=1e-12)


@given(spent=USD, reserved=USD, lost=USD, usd=USD, cap=USD)
def test_a_verdict_never_lets_an_account_go_over_its_cap(
    spent: float, reserved: float, lost: float, usd: float, cap: float
) -> None:
    account = Account(name="total", spent_usd=spent, reserved_usd=reserved, lost_usd=lost)
    verdict = account.judge(usd, cap)
    assert (verdict == "fits") == (spent + lost + reserved + usd <= cap)
    if verdict == "wait":  # once all that is reserved comes free it fits
        assert reserved > 0
        account.release(reserved)
        assert account.judge(usd, cap) == "fits"


@given(steps=st.lists(st.tuples(USD, st.sampled_from(["pay", "release", "lose"])), max_size=30))
def test_nothing_stays_reserved_when_every_request_has_ended(steps: list[tuple[float, str]]) -> None:
    account = Account(name="total")
    for usd, _ in steps:
        account.reserve(usd)
    for usd, end in steps:
        if end == "lose":
            account.lose(1, usd)
        else:
            account.release(usd)
            account.pay(Paid(cost_usd=usd if end == "pay" else None))
    assert account.reserved_usd == 0.0
    assert account.used_usd == sum(usd for usd, end in steps if end != "release")


def test_an_account_without_a_cap_takes_everything() -> None:
    assert Account(name="total", spent_usd=1e9).judge(1e9, None) == "fits"
    assert not Budget().is_set
    assert Budget(run_usd=0.0).is_set
