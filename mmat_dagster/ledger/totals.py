"""What a ledger holds in all, for people: what was paid for which model and purpose, and what can be forgotten."""

from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa

from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Account
from mmat_dagster.ledger.database import is_absent
from mmat_dagster.ledger.ledger import close_ledger, open_ledger

OK = 200
_R = tables.replies.c
_LINES = (
    sa.select(
        _R.model,
        _R.label,
        sa.func.count(),
        sa.func.sum(_R.prompt_tokens),
        sa.func.sum(_R.cached_tokens),
        sa.func.sum(_R.completion_tokens),
        sa.func.sum(_R.cost_usd),
    )
    .where(_R.status == OK)
    .group_by(_R.model, _R.label)
    .order_by(_R.model, _R.label)
)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a ledger holds: the account of all runs, and per model and purpose a line (calls, tokens in, cached, tokens
    out, USD or None where no price was known).
    """

    account: Account
    lines: tuple[tuple[str, str, int, int, int, int, float | None], ...]


def read_totals(url: str) -> Totals | None:
    """Return what the ledger at `url` holds, or None where there is none yet. Raises LedgerError."""
    if is_absent(url):
        return None
    ledger = open_ledger(url)
    try:
        with ledger.database.read() as connection:
            lines = tuple(tuple(row) for row in connection.execute(_LINES))
        return Totals(account=ledger.account(), lines=cast("Any", lines))
    finally:
        close_ledger(url)


def forget(url: str) -> int:
    """Forget the requests that a server refused or that batches failed at; return how many. Raises LedgerError."""
    if is_absent(url):
        return 0
    ledger = open_ledger(url)
    try:
        with ledger.database.begin() as connection:
            refused = connection.execute(tables.replies.delete().where(tables.replies.c.status != OK)).rowcount
            given_up = tables.wanted.delete().where(tables.wanted.c.batch.is_(None), tables.wanted.c.tries > 0)
            return refused + connection.execute(given_up).rowcount
    finally:
        close_ledger(url)
