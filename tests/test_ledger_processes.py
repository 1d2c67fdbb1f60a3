"""The ledger between processes: one asks, the others wait; what a killed one asked is free, and counted."""

import asyncio
import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa

from mmat_dagster.interfaces import BudgetReached, LedgerError
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Budget
from mmat_dagster.ledger.ledger import Ledger, Lost
from mmat_dagster.ledger.orders import Resend, StoredReply, Withdraw
from tests import postgres
from tests.ledgers import (
    TERMS,
    make_admit,
    make_key,
    make_reply,
    make_settle,
    make_terms,
    neighbour,
    neighbours,
    open_once,
    opened,
)
from tests.postgres import execute

ledger_url = postgres.ledger_url
postgres_url = postgres.postgres_url

# Longer than anybody sleeps before looking again.
A_WHILE_S = 0.25


def claimed(ledger: Ledger) -> list[bytes]:
    """Return the keys of all claims."""
    with ledger.database.read() as connection:
        return list(connection.execute(sa.select(tables.claims.c.key)).scalars())


async def still_waits(task: "asyncio.Task[StoredReply | None]") -> bool:
    """Say whether a task has not ended after a while."""
    await asyncio.sleep(A_WHILE_S)
    return not task.done()


def cut_connections(ledger: Ledger, url: str) -> None:
    """End all connections of a PostgreSQL ledger from the server's side, as a lost line does."""
    ledger.account()
    execute(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()",
    )


async def test_who_asks_the_same_waits_for_the_first_and_gets_its_reply(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        assert await first.admit(make_admit(1)) is None
        waiting = asyncio.create_task(second.admit(make_admit(1)))
        assert await still_waits(waiting)
        await first.do(make_settle(1))
        assert await waiting == make_reply(1)


async def test_who_asks_the_same_gets_the_claim_when_the_first_withdraws(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        assert await first.admit(make_admit(1)) is None
        waiting = asyncio.create_task(second.admit(make_admit(1)))
        assert await still_waits(waiting)
        await first.do(Withdraw(key=make_key(1), is_lost=False))
        assert await waiting is None
        assert claimed(second) == [make_key(1)]


async def test_two_tasks_of_one_process_do_not_both_ask(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        tasks = [asyncio.create_task(ledger.admit(make_admit(1))) for _ in range(3)]
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [None]
        assert len(waiting) == 2
        await ledger.do(make_settle(1))
        assert await asyncio.gather(*waiting) == [make_reply(1)] * 2


async def test_a_real_process_waits_for_this_one(ledger_url: str) -> None:
    with opened(ledger_url) as ledger, neighbour(ledger_url) as other:
        assert await ledger.admit(make_admit(1)) is None
        other.tell("admit", 1)
        await asyncio.sleep(A_WHILE_S)
        await ledger.do(make_settle(1))
        assert await asyncio.to_thread(other.hear) == '{"reply": 1}'


async def test_this_process_waits_for_a_real_one_and_goes_on_when_it_withdraws(ledger_url: str) -> None:
    with opened(ledger_url) as ledger, neighbour(ledger_url) as other:
        assert other.do("admit", 1) == "send"
        waiting = asyncio.create_task(ledger.admit(make_admit(1)))
        assert await still_waits(waiting)
        assert other.do("withdraw", 1) == "withdrawn"
        assert await waiting is None


async def test_withdrawing_leaves_the_claims_of_others_alone(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        await first.admit(make_admit(1, usd=0.5))
        for is_lost in (False, True):
            await second.do(Withdraw(key=make_key(1), is_lost=is_lost))
        assert claimed(first) == [make_key(1)]
        assert (first.account().reserved_usd, first.account().lost_usd) == (0.5, 0.0)


async def test_what_a_killed_process_asked_is_free_at_once_and_counts_as_lost(ledger_url: str) -> None:
    with opened(ledger_url) as ledger, neighbour(ledger_url) as other:
        assert other.do("admit", 1, 0.75) == "send"
        assert other.do("admit", 2, 0.5) == "send"
        waiting = asyncio.create_task(ledger.admit(make_admit(1, usd=0.75)))
        assert await still_waits(waiting)
        other.kill()
        assert await waiting is None
        for account in (ledger.account(), ledger.account(TERMS.run_id)):
            assert (account.lost_calls, account.lost_usd, account.reserved_usd) == (2, 1.25, 0.75)
        assert claimed(ledger) == [make_key(1)]


async def test_the_next_process_tells_what_a_killed_one_has_lost_and_tells_it_once(ledger_url: str) -> None:
    with neighbour(ledger_url) as other:
        other.do("admit", 1, 0.75)
        other.do("admit", 2, 0.5)
        other.kill()
    with opened(ledger_url) as ledger:
        assert ledger.lost == Lost(calls=2, usd=1.25)
        assert (ledger.account().lost_usd, ledger.account(TERMS.run_id).lost_usd) == (1.25, 1.25)
        assert ledger.account().reserved_usd == 0.0
        assert claimed(ledger) == []
    with opened(ledger_url) as ledger:
        assert ledger.lost == Lost(calls=0, usd=0.0)


async def test_a_process_that_ends_well_loses_nothing(ledger_url: str) -> None:
    with neighbour(ledger_url) as other:
        assert other.do("admit", 1, 0.5) == "send"
        assert other.do("settle", 1, 0.5, 0.25) == "stored"
        assert other.close() == 0
    with opened(ledger_url) as ledger:
        assert ledger.lost == Lost(calls=0, usd=0.0)
        assert (ledger.account().spent_usd, ledger.account().reserved_usd) == (0.25, 0.0)


async def test_a_claim_that_is_left_when_the_ledger_closes_is_lost_and_free(ledger_url: str) -> None:
    with opened(ledger_url) as second:
        with opened(ledger_url) as first:
            await first.admit(make_admit(1, usd=0.5))
        assert (second.account().lost_usd, second.account().reserved_usd) == (0.5, 0.0)
        assert claimed(second) == []
        assert await second.admit(make_admit(1)) is None


async def test_who_waits_for_a_reservation_goes_on_when_its_process_was_killed(ledger_url: str) -> None:
    terms = make_terms(budget=Budget(total_usd=1.0))
    with opened(ledger_url) as ledger, neighbour(ledger_url) as other:
        assert other.do("admit", 1, 0.25) == "send"
        waiting = asyncio.create_task(ledger.admit(make_admit(2, terms, usd=0.875)))
        assert await still_waits(waiting)
        other.kill()
        with pytest.raises(BudgetReached, match=r"up to \$0\.2500 lost in flight"):
            await waiting


async def test_four_processes_lose_nothing(ledger_url: str) -> None:
    with neighbours(ledger_url, 4) as others:
        for index, other in enumerate(others):
            other.tell("pour", 1000 * index, 200)
        assert [await asyncio.to_thread(other.hear) for other in others] == ["200"] * 4
    with opened(ledger_url) as ledger:
        account = ledger.account()
        assert (account.calls, account.prompt_tokens, account.completion_tokens) == (800, 80_000, 8_000)
        assert (account.spent_usd, account.reserved_usd, account.lost_calls) == (200.0, 0.0, 0)
        numbers = [1000 * index + each for index in range(4) for each in range(200)]
        found = await asyncio.gather(*(ledger.find(make_key(number)) for number in numbers))
        assert found == [make_reply(number, 0.25) for number in numbers]


async def test_four_processes_that_ask_the_same_ask_it_once(ledger_url: str) -> None:
    with neighbours(ledger_url, 4) as others:
        for other in others:
            other.tell("pour", 0, 100)
        heard = [await asyncio.to_thread(other.hear) for other in others]
        assert sum(map(int, heard)) == 100
    with opened(ledger_url) as ledger:
        assert (ledger.account().calls, ledger.account().reserved_usd) == (100, 0.0)


async def test_many_processes_may_make_the_ledger_at_once(ledger_url: str) -> None:
    ledgers = await asyncio.gather(*(asyncio.to_thread(Ledger, ledger_url) for _ in range(8)))
    for ledger in ledgers:
        ledger.close()


async def test_a_process_whose_idle_connections_died_goes_on_and_keeps_its_claims(postgres_url: str) -> None:
    with opened(postgres_url) as first, opened(postgres_url) as second:
        await first.admit(make_admit(1))
        cut_connections(first, postgres_url)
        await first.admit(make_admit(2))
        waiting = asyncio.create_task(second.admit(make_admit(1)))
        assert await still_waits(waiting)
        await first.do(make_settle(1))
        assert await waiting == make_reply(1)
        await first.do(make_settle(2))


async def test_a_process_that_was_taken_for_dead_sends_nothing_new_but_stores_what_it_sent(postgres_url: str) -> None:
    with opened(postgres_url) as first, opened(postgres_url) as second:
        await first.admit(make_admit(1, usd=0.5))
        await first.admit(make_admit(2, usd=0.5))
        cut_connections(first, postgres_url)
        assert await second.admit(make_admit(1, usd=0.5)) is None
        for order in (make_admit(3), Resend(terms=TERMS, tokens=1.0)):
            with pytest.raises(LedgerError, match="another process took its requests over"):
                await first.do(order)
        await first.do(make_settle(2, reserved=0.5, usd=0.25))
        assert await second.find(make_key(2)) == make_reply(2, 0.25)
        account = second.account()
        assert (account.spent_usd, account.reserved_usd, account.lost_usd) == (0.25, 0.5, 1.0)
        await second.do(Withdraw(key=make_key(1), is_lost=False))


def test_many_processes_may_open_a_new_ledger_at_the_same_moment(tmp_path: Path) -> None:
    # SQLite switches a file to WAL without waiting for its turn: about one in a hundred found it locked.
    urls = [f"sqlite:///{tmp_path}/{number}.sqlite" for number in range(40)]
    with multiprocessing.get_context("spawn").Pool(6) as processes:
        for url in urls:
            assert processes.map(open_once, [url] * 6, chunksize=1) == [url] * 6
