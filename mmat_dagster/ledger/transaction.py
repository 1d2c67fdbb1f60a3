"""One transaction of the ledger: replies are stored first, then as many new requests are admitted as may be sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mmat_dagster.interfaces import BudgetReached, LedgerError
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Paid
from mmat_dagster.ledger.books import Books
from mmat_dagster.ledger.buckets import RateSeen
from mmat_dagster.ledger.database import Database, insert_new
from mmat_dagster.ledger.liveness import Liveness
from mmat_dagster.ledger.orders import (
    Admit,
    Call,
    HeldByBatch,
    Order,
    Resend,
    Settle,
    SlowDown,
    StoredReply,
    Terms,
    Want,
    Withdraw,
    pack,
    reply_row,
    unpack,
)
from mmat_dagster.ledger.worker import Ticket

# Another process may settle, give back or die: whoever waits for that looks again after so long.
POLL_S = 0.2
# What waits for limits may be answered by another process meanwhile: it is looked up again after so long.
LOOK_S = 0.5
# Tokens drip in one by one; waking for each would cost more than it brings.
SHORTEST_WAIT_S = 0.01
BURIED = (
    "the reply ledger was without this process's sign of life, and another process took its requests over: nothing "
    "new is sent, so that nothing is paid twice. What was under way is stored; run again to go on"
)
# A reply's columns as `find` and `Admit` read them.
REPLY = (
    tables.replies.c.key,
    tables.replies.c.status,
    tables.replies.c.body,
    tables.replies.c.prompt_tokens,
    tables.replies.c.cached_tokens,
    tables.replies.c.completion_tokens,
    tables.replies.c.cost_usd,
    tables.replies.c.batch,
    tables.replies.c.request_id,
)

_KEYS: sa.BindParameter[bytes] = sa.bindparam("keys", expanding=True)
FIND = sa.select(*REPLY).where(tables.replies.c.key.in_(_KEYS))
_CLAIMED = sa.select(tables.claims.c.key, tables.claims.c.session).where(tables.claims.c.key.in_(_KEYS))
_WANTED = sa.select(tables.wanted.c.key, tables.wanted.c.batch).where(tables.wanted.c.key.in_(_KEYS))
_TRIES = sa.select(tables.wanted.c.key, tables.wanted.c.tries).where(tables.wanted.c.key.in_(_KEYS))
_UNWANT = tables.wanted.delete().where(tables.wanted.c.key.in_(_KEYS))
_UNCLAIM = tables.claims.delete().where(tables.claims.c.key.in_(_KEYS))
_WITHDRAW = (
    tables.claims.delete()
    .where(tables.claims.c.key == sa.bindparam("withdrawn"), tables.claims.c.session == sa.bindparam("own"))
    .returning(tables.claims.c.run_id, tables.claims.c.reserved_usd)
)
_CLAIMING = sa.select(tables.claims.c.session).distinct()
_ENDED = sa.select(tables.sessions.c.ended_at).where(tables.sessions.c.id == sa.bindparam("own"))
_LEFT_BEHIND = sa.select(tables.claims.c.run_id, tables.claims.c.reserved_usd).where(
    tables.claims.c.session == sa.bindparam("dead")
)


def stored_reply(row: Sequence[Any]) -> StoredReply:
    """Return the reply of a row of `REPLY`."""
    _, status, body, prompt, cached, completion, cost, batch, request_id = row
    paid = Paid(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion, cost_usd=cost)
    return StoredReply(status=status, body=unpack(body), paid=paid, batch=batch, request_id=request_id)


@dataclass(kw_only=True)
class Transaction:
    """The work of one transaction on the tickets that have gathered."""

    database: Database
    liveness: Liveness
    connection: sa.Connection
    now: float
    books: Books
    is_buried: bool = False

    def work(self, tickets: Sequence[Ticket[Order]]) -> float | None:
        """Settle what can be settled; return after how many seconds the others should be looked at again."""
        self.liveness.hold()
        self.is_buried = self.connection.execute(_ENDED, {"own": self.liveness.session}).scalar() is not None
        self._settle([ticket for ticket in tickets if isinstance(ticket.order, Settle)])
        self._want([ticket for ticket in tickets if isinstance(ticket.order, Want)])
        for ticket in tickets:
            self._carry_out(ticket)
        wait_s = self._let_through([ticket for ticket in tickets if not ticket.is_settled])
        self.books.write()
        return wait_s

    def bury(self, session: int) -> None:
        """End the session of a process that is gone: what it was asking may have been charged."""
        left = self.connection.execute(_LEFT_BEHIND, {"dead": session}).all()
        for run_id, usd in left:
            for account in self.books.accounts(run_id):
                account.lose(1, usd)
        self.connection.execute(tables.claims.delete().where(tables.claims.c.session == session))
        self.connection.execute(
            tables.sessions.update()
            .where(tables.sessions.c.id == session)
            .values(
                ended_at=sa.func.coalesce(tables.sessions.c.ended_at, self.now),
                lost_calls=tables.sessions.c.lost_calls + len(left),
                lost_usd=tables.sessions.c.lost_usd + sum(usd for _, usd in left),
            )
        )

    def _settle(self, tickets: Sequence[Ticket[Order]]) -> None:
        orders = [ticket.order for ticket in tickets if isinstance(ticket.order, Settle)]
        if not orders:
            return
        rows = [reply_row(order.key, order.reply, order.terms, self.now) for order in orders]
        insert_new(self.connection, tables.replies, rows)
        self.connection.execute(_UNCLAIM, {"keys": [order.key for order in orders]})
        self.books.open_accounts({order.terms.run_id for order in orders})
        for order, ticket in zip(orders, tickets, strict=True):
            self._pay(order)
            ticket.settle(None)

    def _pay(self, order: Settle) -> None:
        paid = order.reply.paid
        for account in self.books.accounts(order.terms.run_id):
            if not self.is_buried:  # else it was released, and counted as lost
                account.release(order.reserve_usd)
            if order.reply.status == 200:  # a refusal is kept, but it is no call that was paid
                account.pay(paid)
        bucket = self.books.bucket(order.terms.limits)
        if paid.prompt_tokens:
            bucket.correct(order.tokens - paid.prompt_tokens - paid.completion_tokens)
        self._heed(order.terms, order.seen)

    def _want(self, tickets: Sequence[Ticket[Order]]) -> None:
        orders = [ticket.order for ticket in tickets if isinstance(ticket.order, Want)]
        if not orders:
            return
        keys = [order.key for order in orders]
        # Whoever asks has looked before, and a batch may have brought the reply since.
        replies = {row[0]: row for row in self.connection.execute(FIND, {"keys": keys})}
        wanted = [_wanted_row(order) for order in orders if order.key not in replies]
        insert_new(self.connection, tables.wanted, wanted)
        tries = {row[0]: row[1] for row in self.connection.execute(_TRIES, {"keys": keys})}
        for key, ticket in zip(keys, tickets, strict=True):
            ticket.settle(stored_reply(replies[key]) if key in replies else tries[key])

    def _carry_out(self, ticket: Ticket[Order]) -> None:
        order = ticket.order
        if isinstance(order, Withdraw):
            self._withdraw(order)
            ticket.settle(None)
        elif isinstance(order, SlowDown):
            bucket = self.books.bucket(order.terms.limits)
            bucket.correct(order.tokens)
            bucket.slow_down(self.now, order.after_s)
            self._heed(order.terms, order.seen)
            ticket.settle(None)
        elif isinstance(order, Call):
            ticket.settle(order.function(self.books))

    def _withdraw(self, order: Withdraw) -> None:
        own = {"withdrawn": order.key, "own": self.liveness.session}
        for run_id, usd in self.connection.execute(_WITHDRAW, own).all():
            for account in self.books.accounts(run_id):
                if order.is_lost:
                    account.lose(1, usd)
                else:
                    account.release(usd)

    def _heed(self, terms: Terms, seen: RateSeen | None) -> None:
        if seen is not None:
            self.books.bucket(terms.limits).heed(seen, terms.limits)

    def _let_through(self, tickets: Sequence[Ticket[Order]]) -> float | None:
        """Let requests be sent as limits and budgets allow it: attempts at old ones first."""
        waiting: list[Ticket[Order]] = []
        for ticket in tickets:
            if ticket.future.cancelled():
                ticket.settle(None)
            elif self.is_buried:
                ticket.settle(LedgerError(BURIED))
            else:
                waiting.append(ticket)
        wait_s = self._resend([ticket for ticket in waiting if isinstance(ticket.order, Resend)])
        admits = [ticket for ticket in waiting if isinstance(ticket.order, Admit)]
        return self._admit(admits) if wait_s is None and admits else wait_s

    def _resend(self, tickets: Sequence[Ticket[Order]]) -> float | None:
        for ticket in tickets:
            assert isinstance(ticket.order, Resend)
            bucket = self.books.bucket(ticket.order.terms.limits)
            wait_s = bucket.wait_s(ticket.order.tokens)
            if wait_s > 0:
                return max(SHORTEST_WAIT_S, min(wait_s, POLL_S))
            bucket.take(ticket.order.tokens)
            ticket.settle(None)
        return None

    def _admit(self, tickets: Sequence[Ticket[Order]]) -> float | None:
        """Admit the first requests in their order; the first that has to wait holds all behind it."""
        claimed, wait_s = self._choose(self._look_up(self._worth_a_look(tickets)))
        insert_new(self.connection, tables.claims, [self._claim_row(order) for order in claimed])
        if claimed:
            self.connection.execute(_UNWANT, {"keys": [order.key for order in claimed]})
        left = next((ticket.order for ticket in tickets if not ticket.is_settled), None)
        if wait_s is None and isinstance(left, Admit):
            # Until its tokens are there; where they are, it waits for somebody else who asks the same.
            needed_s = self.books.bucket(left.terms.limits).wait_s(left.tokens)
            return max(SHORTEST_WAIT_S, min(needed_s, POLL_S)) if needed_s > 0 else POLL_S
        return wait_s

    def _worth_a_look(self, tickets: Sequence[Ticket[Order]]) -> list[Ticket[Order]]:
        """Return the first ones, as many as the limits let through, and those not looked up lately.

        Behind a limit a thousand may wait, and tokens drip in for one at a time: looking all up each time would cost
        more than sending them.
        """
        ahead: dict[str, tuple[float, int]] = {}
        chosen: list[Ticket[Order]] = []
        for ticket in tickets:
            order = ticket.order
            assert isinstance(order, Admit)
            name = order.terms.limits.name
            tokens, requests = ahead.get(name, (0.0, 0))
            ahead[name] = tokens + order.tokens, requests + 1
            fits = self.books.bucket(order.terms.limits).wait_s(*ahead[name]) <= 0
            if fits or self.now - ticket.looked_up_at >= LOOK_S:
                chosen.append(ticket)
        for ticket in chosen:
            ticket.looked_up_at = self.now
        return chosen

    def _look_up(self, tickets: Sequence[Ticket[Order]]) -> list[Ticket[Order]]:
        """Return those that nobody asks and nobody has answered; the answer needs no money and no limits."""
        keys = [ticket.order.key for ticket in tickets if isinstance(ticket.order, Admit)]
        replies = {row[0]: row for row in self.connection.execute(FIND, {"keys": keys})}
        asked = self._live_claims(keys)
        batches = {row[0]: row[1] for row in self.connection.execute(_WANTED, {"keys": keys})}
        free: list[Ticket[Order]] = []
        for key, ticket in zip(keys, tickets, strict=True):
            if key in replies:
                ticket.settle(stored_reply(replies[key]))
            elif batches.get(key) is not None:
                ticket.settle(HeldByBatch(batches[key]))
            elif key not in asked:
                asked.add(key)
                free.append(ticket)
        return free

    def _choose(self, tickets: Sequence[Ticket[Order]]) -> tuple[list[Admit], float | None]:
        """Return those that limits and budgets let through, with both taken."""
        chosen: list[Admit] = []
        for ticket in tickets:
            order = ticket.order
            assert isinstance(order, Admit)
            bucket = self.books.bucket(order.terms.limits)
            wait_s = bucket.wait_s(order.tokens)
            if wait_s > 0:
                return chosen, max(SHORTEST_WAIT_S, min(wait_s, POLL_S))
            verdict = self._judge(order)
            if verdict is None:
                return chosen, POLL_S
            if isinstance(verdict, BudgetReached):
                ticket.settle(verdict)
                continue
            bucket.take(order.tokens)
            for account in self.books.accounts(order.terms.run_id):
                account.reserve(order.reserve_usd)
            ticket.settle(None)
            chosen.append(order)
        return chosen, None

    def _judge(self, order: Admit) -> bool | BudgetReached | None:
        run, total = self.books.accounts(order.terms.run_id)
        budget = order.terms.budget
        verdicts = {run.judge(order.reserve_usd, budget.run_usd), total.judge(order.reserve_usd, budget.total_usd)}
        if "over" in verdicts:
            return self.books.over_budget(order.terms.run_id, order.reserve_usd, budget)
        if "wait" not in verdicts:
            return True
        # Whoever holds the rest reserved may have been killed, and would be waited for without end.
        return self._judge(order) if self._bury_dead(row[0] for row in self.connection.execute(_CLAIMING)) else None

    def _live_claims(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return which of `keys` are being asked by a process that lives."""
        claims = {row[0]: row[1] for row in self.connection.execute(_CLAIMED, {"keys": keys})}
        dead = self._bury_dead(claims.values())
        return {key for key, session in claims.items() if session not in dead}

    def _bury_dead(self, sessions: Iterable[int]) -> set[int]:
        """End those of `sessions` whose processes are gone, and return them."""
        others = set(sessions) - {self.liveness.session}
        dead = {session for session in others if not self.liveness.is_alive(session)}
        for session in dead:
            self.bury(session)
        return dead

    def _claim_row(self, order: Admit) -> dict[str, Any]:
        return {
            "key": order.key,
            "session": self.liveness.session,
            "run_id": order.terms.run_id,
            "label": order.terms.label,
            "reserved_usd": order.reserve_usd,
            "claimed_at": self.now,
        }


def _wanted_row(order: Want) -> dict[str, Any]:
    return {
        "key": order.key,
        "model": order.terms.model,
        "run_id": order.terms.run_id,
        "label": order.terms.label,
        "request": pack(order.request),
        "size_bytes": order.size_bytes,
        "reserve_usd": order.reserve_usd,
        "tries": 0,
    }
