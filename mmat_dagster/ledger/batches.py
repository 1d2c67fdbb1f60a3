"""Batches in the ledger: which requests are in which batch, and how far each batch is.

    prepared    its requests are chosen and their cost is reserved; nothing was sent
    submitting  the order to the provider may have been given: it is looked for before it is given again
    submitted   the provider has it, under `remote_id`
    ended       every reply is in the ledger, what was not answered is wanted again
    failed      the provider did not take it; its requests are wanted again

Every function takes the books of a transaction; `Ledger.call` runs it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast
from uuid import uuid4

import sqlalchemy as sa

from mmat_dagster.interfaces import BudgetReached
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Budget
from mmat_dagster.ledger.books import Books
from mmat_dagster.ledger.database import insert_new
from mmat_dagster.ledger.orders import StoredReply, Terms, reply_row, unpack

State = Literal["prepared", "submitting", "submitted", "ended", "failed"]
OPEN: tuple[State, ...] = ("prepared", "submitting", "submitted")
NOBODY = 0

_batches, _wanted = tables.batches, tables.wanted


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch as the ledger knows it; times are seconds since 1970."""

    id: str
    state: State
    server: str
    model: str
    label: str
    run_id: str
    session: int
    remote_id: str | None
    requests: int
    answered: int
    refused: int
    released: int
    detail: str
    created_at: float
    submitted_at: float | None
    ended_at: float | None

    @property
    def is_open(self) -> bool:
        """Say whether replies are still to come."""
        return self.state in OPEN


@dataclass(frozen=True, kw_only=True)
class BatchSize:
    """How large a batch may be, and how often a batch may fail at a request before it is given up."""

    max_requests: int
    max_bytes: int
    max_tries: int


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A request of a batch, as it was packed."""

    id: int
    key: bytes
    request: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a batch brought for one request: a reply to keep, or none, and then whether that counts as a try."""

    key: bytes
    reply: StoredReply | None
    is_try: bool = True


def prepare_batch(
    books: Books, *, terms: Terms, server: str, session: int, size: BatchSize
) -> Batch | BudgetReached | None:
    """Choose what the next batch holds and reserve its cost; None where nothing is wanted, or others hold the budget.

    Returns BudgetReached where not even the first request fits.
    """
    columns = (_wanted.c.id, _wanted.c.run_id, _wanted.c.size_bytes, _wanted.c.reserve_usd)
    found = sa.select(*columns).where(
        _wanted.c.batch.is_(None),
        _wanted.c.label == terms.label,
        _wanted.c.model == terms.model,
        _wanted.c.tries <= size.max_tries,
        # A process in chat mode may be asking the same, or have asked it.
        ~sa.exists().where(tables.claims.c.key == _wanted.c.key),
        ~sa.exists().where(tables.replies.c.key == _wanted.c.key),
    )
    chosen: list[int] = []
    total_bytes = 0
    verdict: str | BudgetReached = "fits"
    for row_id, run_id, size_bytes, usd in books.connection.execute(
        found.order_by(_wanted.c.id).limit(size.max_requests)
    ):
        total_bytes += size_bytes
        verdict = _judge(books, run_id, usd, terms.budget)
        if verdict != "fits" or (chosen and total_bytes > size.max_bytes):
            break
        for account in books.accounts(run_id):
            account.reserve(usd)
        chosen.append(row_id)
    if not chosen:
        return verdict if isinstance(verdict, BudgetReached) else None
    return _create(books, terms, server, session, chosen)


def wanted_of(books: Books, batch_id: str, after_id: int = 0, limit: int = 500) -> list[Wanted]:
    """Return the next requests of a batch in their order, behind the one with `after_id`."""
    found = sa.select(_wanted.c.id, _wanted.c.key, _wanted.c.request).where(
        _wanted.c.batch == batch_id, _wanted.c.id > after_id
    )
    rows = books.connection.execute(found.order_by(_wanted.c.id).limit(limit))
    return [Wanted(id=row_id, key=key, request=unpack(request)) for row_id, key, request in rows]


def open_batches(books: Books, server: str) -> list[Batch]:
    """Return the batches at a server that have not ended, the oldest first."""
    found = sa.select(_batches).where(_batches.c.state.in_(OPEN), _batches.c.server == server)
    return [_batch(row) for row in books.connection.execute(found.order_by(_batches.c.created_at)).mappings()]


def all_batches(connection: sa.Connection, since: float = 0.0) -> list[Batch]:
    """Return the batches that were made after `since`, the oldest first."""
    found = sa.select(_batches).where(_batches.c.created_at > since).order_by(_batches.c.created_at)
    return [_batch(row) for row in connection.execute(found).mappings()]


def mark(books: Books, batch_id: str, state: State, **values: object) -> None:
    """Write down how far a batch is; `submitting` is written before the order is given."""
    if state == "submitting":
        values["submitted_at"] = books.now
    books.connection.execute(_batches.update().where(_batches.c.id == batch_id).values(state=state, **values))


def is_in_state(books: Books, batch: Batch) -> bool:
    """Say whether a batch is still as far as `batch` says."""
    found = sa.select(_batches.c.state).where(_batches.c.id == batch.id)
    return books.connection.execute(found).scalar() == batch.state


def take_over(books: Books, batch_id: str, owner: int, session: int) -> bool:
    """Become the one who tends a batch, if its owner is still `owner`; NOBODY gives it back."""
    taken = books.connection.execute(
        _batches.update().where(_batches.c.id == batch_id, _batches.c.session == owner).values(session=session)
    )
    return taken.rowcount == 1


def fill(books: Books, batch: Batch, answers: Sequence[Answer]) -> list[StoredReply]:
    """Store what a batch brought and settle its money; what was not answered is wanted again.

    Returns the replies that were paid now, without those that were stored before.
    """
    batch_id = batch.id
    reserved = _reserved(books, batch_id, [answer.key for answer in answers])
    rows = [reply_row(each.key, each.reply, batch, books.now) for each in answers if each.reply is not None]
    insert_new(books.connection, tables.replies, rows)
    paid: list[StoredReply] = []
    counts = {"answered": 0, "refused": 0, "released": 0}
    for answer in answers:
        if answer.key not in reserved:
            continue  # filled by an earlier attempt, before it was killed
        run_id, usd = reserved[answer.key]
        paid += [answer.reply] if answer.reply is not None and answer.reply.status == 200 else []
        for account in books.accounts(run_id):
            account.release(usd)
            if answer.reply is not None and answer.reply.status == 200:
                account.pay(answer.reply.paid)
        counts[_outcome(answer)] += 1
    kept = [answer.key for answer in answers if answer.reply is not None]
    tried = [answer.key for answer in answers if answer.reply is None and answer.is_try]
    freed = [answer.key for answer in answers if answer.reply is None and not answer.is_try]
    _of = _wanted.c.batch == batch_id
    books.connection.execute(_wanted.delete().where(_of, _wanted.c.key.in_(kept)))
    again = _wanted.c.tries + 1
    books.connection.execute(_wanted.update().where(_of, _wanted.c.key.in_(tried)).values(batch=None, tries=again))
    books.connection.execute(_wanted.update().where(_of, _wanted.c.key.in_(freed)).values(batch=None))
    values = {name: _batches.c[name] + count for name, count in counts.items()}
    books.connection.execute(_batches.update().where(_batches.c.id == batch_id).values(values))
    return paid


def end(books: Books, batch_id: str, state: State, detail: str) -> None:
    """End a batch: what it did not answer is wanted again, and its money is free."""
    rest = books.connection.execute(
        sa.select(_wanted.c.run_id, _wanted.c.reserve_usd).where(_wanted.c.batch == batch_id)
    ).all()
    for run_id, usd in rest:
        for account in books.accounts(run_id):
            account.release(usd)
    books.connection.execute(_wanted.update().where(_wanted.c.batch == batch_id).values(batch=None))
    books.connection.execute(
        _batches.update()
        .where(_batches.c.id == batch_id)
        .values(
            state=state,
            detail=detail,
            ended_at=books.now,
            session=NOBODY,
            released=_batches.c.released + len(rest),
        )
    )


def _create(books: Books, terms: Terms, server: str, session: int, chosen: Sequence[int]) -> Batch:
    batch = Batch(
        id=uuid4().hex,
        state="prepared",
        server=server,
        model=terms.model,
        label=terms.label,
        run_id=terms.run_id,
        session=session,
        remote_id=None,
        requests=len(chosen),
        answered=0,
        refused=0,
        released=0,
        detail="",
        created_at=books.now,
        submitted_at=None,
        ended_at=None,
    )
    books.connection.execute(_batches.insert().values(asdict(batch)))
    assign = _wanted.update().where(_wanted.c.id == sa.bindparam("chosen")).values(batch=batch.id)
    books.connection.execute(assign, [{"chosen": each} for each in chosen])
    return batch


def _judge(books: Books, run_id: str, usd: float, budget: Budget) -> str | BudgetReached:
    run, total = books.accounts(run_id)
    verdicts = {run.judge(usd, budget.run_usd), total.judge(usd, budget.total_usd)}
    if "over" in verdicts:
        return books.over_budget(run_id, usd, budget)
    return "wait" if "wait" in verdicts else "fits"


def _reserved(books: Books, batch_id: str, keys: Sequence[bytes]) -> dict[bytes, tuple[str, float]]:
    rows = books.connection.execute(
        sa.select(_wanted.c.key, _wanted.c.run_id, _wanted.c.reserve_usd).where(
            _wanted.c.batch == batch_id, _wanted.c.key.in_(keys)
        )
    )
    return {key: (run_id, usd) for key, run_id, usd in rows}


def _outcome(answer: Answer) -> str:
    if answer.reply is None:
        return "released"
    return "answered" if answer.reply.status == 200 else "refused"


def _batch(row: Any) -> Batch:
    return Batch(**cast("dict[str, Any]", dict(row)))
