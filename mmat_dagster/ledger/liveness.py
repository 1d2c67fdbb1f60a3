"""Which of the processes that share a ledger are alive: each holds a lock that the system frees when it is gone.

SQLite: a lock on the file `<ledger>.sessions/<id>`. PostgreSQL: an advisory lock of a connection. Neither needs a
clock, a heartbeat or a time limit: a killed process is known to be dead at once, a slow one never is.

A process that loses its connection looks dead. It takes its lock again before it next writes (`hold`); where another
one has ended its session meanwhile, it sends nothing any more (`Transaction`).
"""

import fcntl
import os
import secrets
from abc import ABC, abstractmethod
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from mmat_dagster.interfaces import LedgerError
from mmat_dagster.ledger.database import Database


class Liveness(ABC):
    """This process's own sign of life, and the look at another's."""

    def __init__(self) -> None:
        self.session = secrets.randbits(62)

    @abstractmethod
    def hold(self) -> None:
        """Show the sign of life again where it was lost; to be called while nobody else can end this session."""

    @abstractmethod
    def is_alive(self, session: int) -> bool:
        """Say whether the process of `session` still runs."""

    @abstractmethod
    def close(self) -> None:
        """Take this process's sign of life away."""


class FileLiveness(Liveness):
    """Locks on files, for processes of one machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = os.open(folder / str(self.session), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def hold(self) -> None:
        """Do nothing: the lock lasts as long as the process."""

    def is_alive(self, session: int) -> bool:
        """Say whether the process of `session` still runs."""
        try:
            other = os.open(self._folder / str(session), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(other)
        (self._folder / str(session)).unlink(missing_ok=True)
        return False

    def close(self) -> None:
        """Take this process's sign of life away."""
        (self._folder / str(self.session)).unlink(missing_ok=True)
        os.close(self._file)


class ConnectionLiveness(Liveness):
    """Advisory locks of PostgreSQL, for processes of any number of machines."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__()
        self._engine = engine
        self._connection = self._lock()

    def hold(self) -> None:
        """Take the lock again where the connection was lost."""
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except DBAPIError:
            self._connection.close()
            self._connection = self._lock()

    def is_alive(self, session: int) -> bool:
        """Say whether the process of `session` still runs."""
        if not self._connection.execute(sa.select(sa.func.pg_try_advisory_lock(session))).scalar_one():
            return True
        self._connection.execute(sa.select(sa.func.pg_advisory_unlock(session)))
        return False

    def close(self) -> None:
        """Take this process's sign of life away."""
        if not (self._connection.closed or self._connection.invalidated):
            self._connection.detach()  # back in the pool it would keep its locks
        self._connection.close()

    def _lock(self) -> sa.Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.select(sa.func.pg_advisory_lock(self.session)))
        return connection


def show_life(database: Database) -> Liveness:
    """Begin this process's session."""
    with database.told():
        if database.folder is None:
            return ConnectionLiveness(database.engine)
        try:
            return FileLiveness(database.folder)
        except OSError as error:
            raise LedgerError(f"the reply ledger's {database.folder} cannot be written: {error.strerror}") from None
