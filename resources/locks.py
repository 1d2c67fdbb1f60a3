"""Locks that keep two processes from writing the same dataset: on this machine, or on several by PostgreSQL."""

import fcntl
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mmat_dagster.interfaces import StoreError
from mmat_dagster.ledger.database import KEEPALIVE, postgresql_engine


class Locks(ABC):
    """Hands out locks by name; whoever dies holds none."""

    @abstractmethod
    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock called `name` for the time of a block; wait for whoever holds it. Raises StoreError."""


class FileLocks(Locks):
    """Locks among the processes of this machine, which the kernel releases with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Lock a file below the folder."""
        path = self._folder / name / ".lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a")
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class PostgresLocks(Locks):
    """Locks among all processes that use a database: advisory locks of a session, which end with its connection."""

    def __init__(self, url: str) -> None:
        self._engine = postgresql_engine(
            sa.make_url(url), connect_args=KEEPALIVE, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Lock the number of the name; a machine that is gone loses it within a minute or so."""
        try:
            connection = self._engine.connect()
            connection.exec_driver_sql(
                "SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 4; "
                f"SELECT pg_advisory_lock({lock_number(name)})"
            )
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
