"""Replies of a ledger for somebody who only looks: nothing is created, claimed or written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mmat_dagster.interfaces import LedgerError
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Paid
from mmat_dagster.ledger.database import is_absent, ledger_url, postgresql_engine
from mmat_dagster.ledger.orders import unpack

_R = tables.replies.c
_FIND = sa.select(
    _R.model,
    _R.status,
    _R.body,
    _R.prompt_tokens,
    _R.cached_tokens,
    _R.completion_tokens,
    _R.cost_usd,
    _R.batch,
    _R.run_id,
    _R.label,
    _R.created_at,
).where(_R.key == sa.bindparam("key"))


@dataclass(frozen=True, kw_only=True)
class KeptReply:
    """A reply as the ledger keeps it: from whom, for which run, for how much, and when (seconds since 1970)."""

    model: str
    status: int
    body: bytes
    paid: Paid
    batch: str | None
    run_id: str
    label: str
    created_at: float


class KeptReplies:
    """Finds replies by the key of their request."""

    def __init__(self, connection: sa.Connection | None) -> None:
        self._connection = connection

    def find(self, key: bytes) -> KeptReply | None:
        """Return the reply to the request `key`, if there is one; raise LedgerError where the ledger cannot be read."""
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(_FIND, {"key": key}).mappings().first()
        except SQLAlchemyError as error:
            raise LedgerError(f"the reply ledger cannot be read: {getattr(error, 'orig', error)}") from None
        if row is None:
            return None
        return KeptReply(
            model=row["model"],
            status=row["status"],
            body=unpack(row["body"]),
            paid=Paid(
                prompt_tokens=row["prompt_tokens"],
                cached_tokens=row["cached_tokens"],
                completion_tokens=row["completion_tokens"],
                cost_usd=row["cost_usd"],
            ),
            batch=row["batch"],
            run_id=row["run_id"],
            label=row["label"],
            created_at=row["created_at"],
        )


@contextmanager
def kept_replies(url: str) -> Iterator[KeptReplies]:
    """Open the ledger at `url` for looking; one that is not there yet holds nothing. Raises LedgerError."""
    if is_absent(url):
        yield KeptReplies(None)
        return
    engine = _engine(ledger_url(url))
    try:
        with engine.connect() as connection:
            yield KeptReplies(connection)
    except SQLAlchemyError as error:
        raise LedgerError(f"the reply ledger cannot be read: {getattr(error, 'orig', error)}") from None
    finally:
        engine.dispose()


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        file = Path(str(parsed.database)).resolve().as_uri()
        return sa.create_engine(f"sqlite:///{file}?mode=ro&uri=true", hide_parameters=True)
    return postgresql_engine(parsed, connect_args={"options": "-c default_transaction_read_only=on"})
