"""Locks that keep two machines from writing the same dataset."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mmat_dagster.interfaces import StoreError
from mmat_dagster.ledger.database import KEEPALIVE, KEPT_ALIVE_BY_SERVER, postgresql_engine


class PostgresLocks:
    """Locks among all processes that use a database: advisory locks of a session, which end with its connection."""

    def __init__(self, url: str) -> None:
        self._engine = postgresql_engine(
            sa.make_url(url), connect_args=KEEPALIVE, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold the lock called `name` for the time of a block; wait for whoever holds it. Raises StoreError.

        A machine that is gone loses it within a minute or so.
        """
        try:
            connection = self._engine.connect()
            statements = (*KEPT_ALIVE_BY_SERVER, f"SELECT pg_advisory_lock({lock_number(name)})")
            connection.exec_driver_sql("; ".join(statements))
        except SQLAlchemyError as error:
            told = str(getattr(error, "orig", None) or "the database cannot be reached").strip().replace("\n", " ")
            raise StoreError(f"the lock of {name} cannot be had: {told}") from None
        try:
            yield
        finally:
            connection.invalidate()  # closed, not kept: the lock ends with it, even where the database has gone
            connection.close()


def lock_number(name: str) -> int:
    """Return the 64 signed bits by which PostgreSQL knows the lock called `name`."""
    return int.from_bytes(sha256(f"mmat store {name}".encode()).digest()[:8], "big", signed=True)
