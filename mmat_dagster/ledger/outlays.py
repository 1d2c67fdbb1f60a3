"""What was paid for some purposes, and when: what a release tells of its making."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mmat_dagster.ledger import tables
from mmat_dagster.ledger.database import is_absent
from mmat_dagster.ledger.ledger import close_ledger, open_ledger

OK = 200


@dataclass(frozen=True, kw_only=True)
class Outlay:
    """What a model was paid for one purpose (`rationales of tabmwp`); USD are None where no price was known.

    `first_at` and `last_at` are when its replies came, in seconds since 1970.
    """

    model: str
    label: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    usd: float | None
    first_at: float
    last_at: float


def read_outlays(url: str, labels: Collection[str]) -> tuple[Outlay, ...]:
    """Return what the ledger at `url` knows of the purposes `labels`; nothing where it is not there.

    Raises LedgerError.
    """
    if is_absent(url):
        return ()
    ledger = open_ledger(url)
    try:
        with ledger.database.read() as connection:
            rows = [tuple(row) for row in connection.execute(_statement(labels))]
    finally:
        close_ledger(url)
    names = Outlay.__dataclass_fields__
    return tuple(Outlay(**dict(zip(names, row, strict=True))) for row in rows)


def _statement(labels: Collection[str]) -> sa.Select[Any]:
    row = tables.replies.c
    sums = (sa.func.sum(column) for column in (row.prompt_tokens, row.cached_tokens, row.completion_tokens))
    return (
        sa.select(
            row.model,
            row.label,
            sa.func.count(),
            *sums,
            sa.func.sum(row.cost_usd),
            sa.func.min(row.created_at),
            sa.func.max(row.created_at),
        )
        .where(row.status == OK, row.label.in_(sorted(labels)))
        .group_by(row.model, row.label)
        .order_by(row.model, row.label)
    )
