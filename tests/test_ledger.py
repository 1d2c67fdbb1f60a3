"""The ledger on SQLite and PostgreSQL: replies are stored before anybody is told, found by key, and kept."""

import asyncio
import sqlite3
import threading
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from mmat_dagster.interfaces import LedgerError
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Paid
from mmat_dagster.ledger.books import Books
from mmat_dagster.ledger.ledger import Ledger, close_ledger, open_ledger
from mmat_dagster.ledger.orders import HeldByBatch, Settle, StoredReply, Want, Withdraw
from mmat_dagster.ledger.worker import Ticket, Worker
from tests import postgres
from tests.ledgers import RUN, TERMS, make_admit, make_key, make_reply, make_settle, make_terms, opened, pour

ledger_url = postgres.ledger_url

IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


def count(ledger: Ledger, table: sa.Table) -> int:
    """Return how many rows a table has."""
    with ledger.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def count_commits(ledger: Ledger) -> list[sa.Connection]:
    """Return a list that grows by one with every transaction that the ledger commits from now on."""
    commits: list[sa.Connection] = []
    sa.event.listen(ledger.database.engine, "commit", commits.append)
    return commits


async def test_an_admitted_request_is_claimed_until_its_reply_is_stored(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        assert await ledger.admit(make_admit(1, usd=0.5)) is None
        with ledger.database.read() as connection:
            claim = connection.execute(sa.select(tables.claims)).mappings().one()
        assert (claim["key"], claim["session"], claim["run_id"]) == (make_key(1), ledger.session, RUN)
        assert claim["reserved_usd"] == 0.5
        await ledger.do(make_settle(1, reserved=0.5))
        assert count(ledger, tables.claims) == 0


async def test_replies_survive_closing_and_are_found_by_key(ledger_url: str) -> None:
    reply = StoredReply(
        status=400,
        body=b'{"error": "\xc3\xa9"}' * 50,
        paid=Paid(prompt_tokens=7, cached_tokens=3, completion_tokens=2, cost_usd=0.125),
        request_id="req_7",
    )
    with opened(ledger_url) as ledger:
        await ledger.admit(make_admit(1))
        await ledger.do(Settle(key=make_key(1), terms=TERMS, tokens=0.0, reserve_usd=0.0, reply=reply))
        assert await ledger.find(make_key(1)) == reply
    with opened(ledger_url) as ledger:
        assert await ledger.find(make_key(1)) == reply
        assert await ledger.admit(make_admit(1)) == reply
        assert await ledger.find(make_key(2)) is None


async def test_a_withdrawn_request_may_be_sent_again(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        for _ in range(2):
            assert await ledger.admit(make_admit(1)) is None
            await ledger.do(Withdraw(key=make_key(1), is_lost=False))
        assert await ledger.find(make_key(1)) is None
        assert ledger.account().lost_calls == 0


async def test_replies_that_come_together_share_a_transaction_and_are_all_stored(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        await asyncio.gather(*(ledger.admit(make_admit(number)) for number in range(300)))
        commits = count_commits(ledger)
        await asyncio.gather(*(ledger.do(make_settle(number)) for number in range(300)))
        assert len(commits) < 100
        assert count(ledger, tables.replies) == 300
        found = await asyncio.gather(*(ledger.find(make_key(number)) for number in range(1200)))
        assert found == [make_reply(number) if number < 300 else None for number in range(1200)]


async def test_a_reply_is_on_the_disk_when_its_task_goes_on(ledger_url: str) -> None:
    with opened(ledger_url) as ledger, opened(ledger_url) as other:
        for number in range(20):
            await ledger.admit(make_admit(number))
            await ledger.do(make_settle(number))
            assert await other.find(make_key(number)) == make_reply(number)


async def test_the_first_reply_to_a_request_stays(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        await ledger.do(make_settle(1, usd=0.25))
        again = make_reply(1, usd=0.5)
        await ledger.do(Settle(key=make_key(1), terms=TERMS, tokens=0.0, reserve_usd=0.0, reply=again))
        assert await ledger.find(make_key(1)) == make_reply(1, usd=0.25)
        assert ledger.account().spent_usd == 0.75


async def test_bodies_are_compressed(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        reply = StoredReply(status=200, body=b'{"thought": "again"}' * 500)
        await ledger.do(Settle(key=make_key(1), terms=TERMS, tokens=0.0, reserve_usd=0.0, reply=reply))
        with ledger.database.read() as connection:
            stored = connection.execute(sa.text("SELECT body FROM replies")).scalar_one()
        assert len(bytes(stored)) < len(reply.body) / 20
        assert zlib.decompress(bytes(stored)) == reply.body


async def test_no_table_has_a_place_for_what_a_chat_request_holds(ledger_url: str) -> None:
    """Images are in request bodies only; of these the ledger keeps none, but what a batch wants, without its images."""
    with opened(ledger_url) as ledger:
        await ledger.admit(make_admit(1))
        await ledger.do(make_settle(1))
        blobs = {
            f"{table.name}.{column.name}"
            for table in tables.METADATA.tables.values()
            for column in table.columns
            if isinstance(column.type, sa.LargeBinary)
        }
    assert blobs == {"replies.key", "replies.body", "claims.key", "wanted.key", "wanted.request"}


async def test_a_request_that_a_batch_asks_is_not_sent(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        want = Want(key=make_key(1), terms=TERMS, request=b"{}", size_bytes=2, reserve_usd=0.5)
        assert await ledger.want(want) == 0
        with ledger.database.begin() as connection:
            connection.execute(tables.wanted.update().values(batch="batch-1"))
        with pytest.raises(HeldByBatch, match="batch-1"):
            await ledger.admit(make_admit(1, usd=0.5))
        assert (ledger.account().reserved_usd, count(ledger, tables.claims)) == (0.0, 0)


async def test_a_request_that_waits_for_a_batch_to_come_is_sent_and_no_longer_wanted(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        await ledger.want(Want(key=make_key(1), terms=TERMS, request=b"{}", size_bytes=2, reserve_usd=0.5))
        assert await ledger.admit(make_admit(1)) is None
        assert count(ledger, tables.wanted) == 0


async def test_a_function_is_called_in_a_transaction(ledger_url: str) -> None:
    def count_replies(books: Books) -> int:
        return int(books.connection.execute(sa.select(sa.func.count()).select_from(tables.replies)).scalar_one())

    with opened(ledger_url) as ledger:
        assert await ledger.call(count_replies) == 0
        await ledger.do(make_settle(1))
        assert await ledger.call(count_replies) == 1


async def test_a_reply_is_stored_although_nobody_waits_any_more(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        await ledger.admit(make_admit(1, usd=0.5))
        with ledger.database.begin():  # nothing can be written until the task is cancelled
            settling = asyncio.create_task(ledger.do(make_settle(1, reserved=0.5, usd=0.25)))
            await asyncio.sleep(0.1)
            settling.cancel()
            await asyncio.wait([settling])
        assert await ledger.admit(make_admit(1)) == make_reply(1, 0.25)  # waits, if need be, until it is stored
        assert ledger.account().reserved_usd == 0.0


async def test_a_request_that_nobody_waits_for_any_more_is_not_admitted(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        await first.admit(make_admit(1))
        waiting = asyncio.create_task(second.admit(make_admit(1)))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await first.do(Withdraw(key=make_key(1), is_lost=False))
        assert await second.admit(make_admit(2)) is None
        assert await first.admit(make_admit(1)) is None


async def test_who_waits_when_the_ledger_is_closed_is_told(ledger_url: str) -> None:
    with opened(ledger_url) as first:
        await first.admit(make_admit(1))
        with opened(ledger_url) as second:
            waiting = asyncio.create_task(second.admit(make_admit(1)))
            await asyncio.sleep(0.1)
        with pytest.raises(LedgerError, match="closed"):
            await waiting
        with pytest.raises(LedgerError, match="closed"):
            await second.find(make_key(1))


def test_one_ledger_serves_one_event_loop_after_the_other(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        for first in range(0, 30, 10):
            assert asyncio.run(pour(ledger, first, 10)) == 10


def test_a_request_left_by_an_event_loop_that_has_ended_disturbs_nobody(ledger_url: str) -> None:
    async def leave() -> None:
        waiting = asyncio.create_task(second.admit(make_admit(1)))
        await asyncio.sleep(0.1)
        assert not waiting.done()

    with opened(ledger_url) as first, opened(ledger_url) as second:
        asyncio.run(pour(first, 5, 1))
        assert asyncio.run(first.admit(make_admit(1))) is None
        asyncio.run(leave())
        asyncio.run(first.do(Withdraw(key=make_key(1), is_lost=False)))
        assert asyncio.run(pour(second, 10, 10)) == 10
        assert asyncio.run(first.admit(make_admit(1))) is None


async def test_who_waits_for_another_process_sleeps_meanwhile(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        await first.admit(make_admit(1))
        commits = count_commits(second)
        waiting = [asyncio.create_task(second.admit(make_admit(1))) for _ in range(5)]
        await asyncio.sleep(0.6)
        assert len(commits) < 50  # five looks a second; a busy loop takes thousands
        await first.do(make_settle(1))
        assert await asyncio.gather(*waiting) == [make_reply(1)] * 5


async def test_everybody_who_opens_a_ledger_in_a_process_shares_one(ledger_url: str) -> None:
    first, second = open_ledger(ledger_url), open_ledger(ledger_url)
    assert first is second
    close_ledger(ledger_url)
    assert await second.admit(make_admit(1)) is None
    await second.do(make_settle(1))
    close_ledger(ledger_url)
    with opened(ledger_url) as third:
        assert await third.find(make_key(1)) == make_reply(1)


def test_replies_of_a_ledger_are_readable_with_any_sqlite_tool(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on the way" / "ledger.sqlite"
    with opened(f"sqlite:///{path}") as ledger:
        asyncio.run(pour(ledger, 0, 3, make_terms(run_id="other")))
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT run_id, label, model, status FROM replies").fetchall()
    assert rows == [("other", "tabmwp", "gpt-4o", 200)] * 3
    assert list((path.parent / "ledger.sqlite.sessions").iterdir()) == []


class StrangeError(Exception):
    """An exception that is not made of its `args`."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


async def test_a_worker_that_fails_tells_all_and_works_no_more() -> None:
    seen: list[int] = []

    def work(tickets: Sequence[Ticket[int]]) -> float | None:
        seen.extend(ticket.order for ticket in tickets)
        raise StrangeError("strange", "things")

    worker: Worker[int] = Worker(name="failing", work=work)
    with pytest.raises(LedgerError, match="strange things"):
        await worker.do(1)
    for _ in range(2):
        with pytest.raises(LedgerError, match="strange things"):
            await worker.do(2)
    worker.close()
    assert seen == [1]


async def test_what_was_handed_in_while_a_worker_failed_is_not_tried() -> None:
    seen: list[int] = []
    has_begun, may_fail = threading.Event(), threading.Event()

    def work(tickets: Sequence[Ticket[int]]) -> float | None:
        seen.extend(ticket.order for ticket in tickets)
        has_begun.set()
        may_fail.wait(timeout=10)
        raise LedgerError("broken")

    worker: Worker[int] = Worker(name="failing", work=work)
    first = asyncio.create_task(worker.do(1))
    await asyncio.to_thread(has_begun.wait, 10)
    second = asyncio.create_task(worker.do(2))
    await asyncio.sleep(0)
    may_fail.set()
    for task in (first, second):
        with pytest.raises(LedgerError, match="broken"):
            await task
    worker.close()
    assert seen == [1]


async def test_a_worker_works_off_what_was_handed_in_before_it_was_closed() -> None:
    def work(tickets: Sequence[Ticket[int]]) -> float | None:
        for ticket in tickets:
            ticket.settle(ticket.order * 2)
        return None

    worker: Worker[int] = Worker(name="doubling", work=work)
    tasks = [asyncio.create_task(worker.do(number)) for number in range(100)]
    await asyncio.sleep(0)
    worker.close()
    assert await asyncio.gather(*tasks) == [2 * number for number in range(100)]
