"""The ledger of one process: finds replies, admits requests, stores what came back before anybody uses it.

find     a reading thread answers all that gathered with one query
admit    a writing thread claims, reserves and takes from the buckets, many requests in one transaction
settle   the same thread stores replies; whoever waits goes on when they are on the disk

A database that is restarted is waited for: replies that come meanwhile are paid, and are stored when it is back.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

import sqlalchemy as sa

from mmat_dagster.interfaces import LedgerError
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import TOTAL, Account, run_account
from mmat_dagster.ledger.batches import NOBODY, Batch, is_in_state, take_over
from mmat_dagster.ledger.books import Books
from mmat_dagster.ledger.database import Database, LedgerAway, ledger_url
from mmat_dagster.ledger.liveness import show_life
from mmat_dagster.ledger.orders import Admit, Call, Order, StoredReply, Want
from mmat_dagster.ledger.transaction import FIND, Transaction, stored_reply
from mmat_dagster.ledger.worker import Ticket, Worker

T = TypeVar("T")

# SQLite takes some 32,000 parameters to a statement; a few hundred keys amortise its cost.
KEYS_AT_ONCE = 500
# So long a database that was there is waited for, and tried so often.
AWAY_S, TRY_AGAIN_S = 120.0, 0.5


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Requests that were in flight when their process was killed: they may have been charged, `usd` at most."""

    calls: int
    usd: float


@dataclass(kw_only=True)
class _Attempt:
    """The last attempt at a transaction: its number, where it had one, and after how long it wants another look."""

    transaction_id: int | None = None
    wait_s: float | None = None


class Ledger:
    """One process's use of a ledger; give it back with `close`."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._writer: Worker[Order] = Worker(name="ledger-writer", work=self._write)
        self._reader: Worker[bytes] = Worker(name="ledger-reader", work=self._read)
        try:
            self._liveness = show_life(self.database)
            self.lost = self._begin()
        except LedgerError:
            self.database.close()
            raise

    @property
    def name(self) -> str:
        """Where the ledger is, without a password."""
        return self.database.name

    async def find(self, key: bytes) -> StoredReply | None:
        """Return the reply to the request `key`, if there is one."""
        return cast("StoredReply | None", await self._reader.do(key))

    async def admit(self, order: Admit) -> StoredReply | None:
        """Wait until the request may be sent, and return None; or return the reply that came meanwhile."""
        return cast("StoredReply | None", await self._writer.do(order))

    async def do(self, order: Order) -> None:
        """Carry out an order; when this returns, what it says is on the disk."""
        await self._writer.do(order)

    async def want(self, order: Want) -> int | StoredReply:
        """Put a request on the list for the next batch; return how often a batch has failed at it.

        Returns the reply that came meanwhile, if one did.
        """
        return cast("int | StoredReply", await self._writer.do(order))

    @property
    def session(self) -> int:
        """The number of this process's session."""
        return self._liveness.session

    async def take_batch(self, batch: Batch) -> bool:
        """Become the one who tends a batch, unless another process that lives does."""

        def take(books: Books) -> bool:
            owner = batch.session
            if owner == self.session or (owner != NOBODY and self._liveness.is_alive(owner)):
                return False
            # Another process may have carried it on and given it back since it was looked at.
            return is_in_state(books, batch) and take_over(books, batch.id, owner, self.session)

        return await self.call(take)

    async def call(self, function: Callable[[Books], T]) -> T:
        """Run `function(books)` in a transaction and return its result; an exception that it returns is raised."""
        return cast("T", await self._writer.do(Call(function=function)))

    def account(self, run_id: str | None = None) -> Account:
        """Return what was spent by a run, or in all."""
        name = TOTAL if run_id is None else run_account(run_id)
        with self.database.read() as connection:
            row = connection.execute(sa.select(tables.accounts).where(tables.accounts.c.name == name)).mappings()
            found = row.first()
        return Account(**found) if found else Account(name=name)

    def close(self) -> None:
        """Finish what was handed in, say goodbye and close the database; a claim that is left counts as lost."""
        self._writer.close()
        self._reader.close()
        try:
            with self.database.begin() as connection:
                transaction = self._transaction(connection)
                transaction.bury(self._liveness.session)
                transaction.books.write()
        finally:
            self._liveness.close()
            self.database.close()

    def _begin(self) -> Lost:
        """Write this session down, and end those whose processes are gone."""
        with self.database.begin() as connection:
            transaction = self._transaction(connection)
            open_ones = sa.select(tables.sessions.c.id).where(tables.sessions.c.ended_at.is_(None))
            dead = [each for (each,) in connection.execute(open_ones) if not self._liveness.is_alive(each)]
            for session in dead:
                transaction.bury(session)
            transaction.books.write()
            connection.execute(tables.sessions.insert().values(self._session_row(transaction.now)))
            counted = sa.select(
                sa.func.coalesce(sa.func.sum(tables.sessions.c.lost_calls), 0),
                sa.func.coalesce(sa.func.sum(tables.sessions.c.lost_usd), 0.0),
            ).where(tables.sessions.c.id.in_(dead))
            calls, usd = connection.execute(counted).one()
        return Lost(calls=calls, usd=usd)

    def _session_row(self, now: float) -> dict[str, object]:
        return {
            "id": self._liveness.session,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": now,
            "lost_calls": 0,
            "lost_usd": 0.0,
        }

    def _transaction(self, connection: sa.Connection) -> Transaction:
        now = self.database.now(connection)
        books = Books(connection=connection, now=now)
        return Transaction(database=self.database, liveness=self._liveness, connection=connection, now=now, books=books)

    def _write(self, tickets: Sequence[Ticket[Order]]) -> float | None:
        attempt = _Attempt()
        return _patiently(lambda: self._write_once(tickets, attempt))

    def _write_once(self, tickets: Sequence[Ticket[Order]], attempt: _Attempt) -> float | None:
        """Do the work, unless the last attempt had come through before its connection was lost."""
        with self.database.begin() as connection:
            last = attempt.transaction_id
            if last is None or not self.database.has_committed(connection, last):
                for ticket in tickets:
                    ticket.reopen()
                attempt.transaction_id = self.database.transaction_id(connection)
                attempt.wait_s = self._transaction(connection).work(tickets)
        return attempt.wait_s

    def _read(self, tickets: Sequence[Ticket[bytes]]) -> float | None:
        for start in range(0, len(tickets), KEYS_AT_ONCE):
            group = tickets[start : start + KEYS_AT_ONCE]
            for ticket, reply in zip(group, _patiently(partial(self._find_all, group)), strict=True):
                ticket.settle(reply)
        return None

    def _find_all(self, tickets: Sequence[Ticket[bytes]]) -> list[StoredReply | None]:
        with self.database.read() as connection:
            rows = connection.execute(FIND, {"keys": [ticket.order for ticket in tickets]}).all()
        found = {row[0]: row for row in rows}
        return [stored_reply(found[ticket.order]) if ticket.order in found else None for ticket in tickets]


def _patiently(work: Callable[[], T]) -> T:
    """Return what `work` returns, tried again while the database is away; raise LedgerAway where it stays so."""
    end = time.monotonic() + AWAY_S
    while True:
        try:
            return work()
        except LedgerAway:
            if time.monotonic() > end:
                raise
            time.sleep(TRY_AGAIN_S)


_open: dict[str, tuple[Ledger, int]] = {}
_opening = threading.Lock()


def open_ledger(url: str) -> Ledger:
    """Return this process's ledger at `url`; everybody who opens it shares one, and gives it back with `close_ledger`.

    Raises LedgerError where it cannot be opened.
    """
    url = ledger_url(url)
    with _opening:
        ledger, users = _open.get(url) or (Ledger(url), 0)
        _open[url] = (ledger, users + 1)
        return ledger


def close_ledger(url: str) -> None:
    """Give the ledger back; the last one who does closes it."""
    url = ledger_url(url)
    with _opening:
        ledger, users = _open[url]
        if users > 1:
            _open[url] = (ledger, users - 1)
            return
        del _open[url]
    ledger.close()
