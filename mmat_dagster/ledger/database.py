"""A ledger's database: SQLite by default, PostgreSQL by URL. All writing is done by one transaction at a time.

A transaction begins with the lock that lets no other process write: `BEGIN IMMEDIATE` in SQLite, an advisory lock in
PostgreSQL. What is read in it therefore holds until it ends, and no two of them can deadlock.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError

from mmat_dagster.interfaces import LedgerError
from mmat_dagster.ledger.tables import LEDGER, Schema

# How long a process waits for another one's transaction; these take milliseconds.
BUSY_S = 60.0
RETRY_S = 0.02
WRITERS_LOCK = 0x6D6D6174  # "mmat"

# WAL: readers go on while one writes. FULL: a commit is on the disk when it returns, whatever happens to the machine.
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536", "temp_store = MEMORY")
# Each side notices within about a minute that the other machine is gone, and with it its claims and locks.
KEEPALIVE = {
    "connect_timeout": 30,
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 4,
    "tcp_user_timeout": 60_000,
}
KEPT_ALIVE_BY_SERVER = (
    "SET tcp_keepalives_idle = 20",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 4",
)
SETTINGS = (
    *KEPT_ALIVE_BY_SERVER,
    f"SET lock_timeout = '{BUSY_S:g}s'",
)


class LedgerAway(LedgerError):
    """The database has gone, or cannot be reached: it may come back, as after a restart."""


class Database:
    """One ledger's database; `read` and `begin` may be used from any thread, each call by one."""

    def __init__(self, url: str, schema: Schema = LEDGER) -> None:
        self._url = _parse(url)
        self._schema = schema
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.folder = _prepare_folder(self._url, schema.title) if self.is_sqlite else None
        self.engine = _sqlite_engine(self._url) if self.is_sqlite else _postgresql_engine(self._url)
        try:
            with self.begin() as connection:
                _create(connection, schema)
        except LedgerError:
            self.engine.dispose()
            raise

    @property
    def name(self) -> str:
        """The database as a person may see it: without a password, be it in the query."""
        return self._url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction that is alone in writing; it is durable when the block has ended."""
        with self.told(), self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a connection for reading; every statement sees what was committed when it began."""
        with self.told(), self.engine.connect() as connection:
            yield connection if self.is_sqlite else connection.execution_options(isolation_level="AUTOCOMMIT")

    def now(self, connection: sa.Connection) -> float:
        """Return the seconds since 1970: by the one clock that all processes share."""
        if self.is_sqlite:
            return time.time()
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())

    def transaction_id(self, connection: sa.Connection) -> int | None:
        """Return the number of a transaction, by which it is known after its connection was lost; None in SQLite."""
        if self.is_sqlite:
            return None
        return int(connection.exec_driver_sql("SELECT txid_current()").scalar_one())

    def has_committed(self, connection: sa.Connection, transaction_id: int) -> bool:
        """Say whether a transaction whose connection was lost had come through; to be asked in a later one."""
        status = connection.exec_driver_sql(f"SELECT txid_status({transaction_id:d})").scalar_one()
        return bool(status == "committed")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raise LedgerError for what the database complains of, LedgerAway where it does not say anything any more."""
        try:
            yield
        except SQLAlchemyError as error:
            kind = LedgerAway if not self.is_sqlite and _is_away(error) else LedgerError
            raise kind(f"{self._schema.title} {self.name} does not work: {_reason(error)}") from None


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert `rows` but those whose key is there already."""
    if rows:
        insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
        connection.execute(insert.on_conflict_do_nothing(), [dict(row) for row in rows])


def ledger_url(text: str) -> str:
    """Return a ledger's URL; a plain path names an SQLite file."""
    return text if "://" in text else f"sqlite:///{text}"


def location(text: str) -> str:
    """Return which database a ledger's file or URL names, without who uses it and how."""
    url = _parse(ledger_url(text))
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database or "").absolute())
    return f"{url.host}:{url.port or 5432}/{url.database}"


def is_absent(text: str) -> bool:
    """Say whether the ledger is an SQLite file that is not there yet."""
    url = _parse(ledger_url(text))
    return url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists()


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):  # the latter is about a port that is no number
        raise LedgerError("the ledger's URL is none: sqlite:///path/to/ledger.sqlite or postgresql://...") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise LedgerError(f"the ledger runs on sqlite and postgresql, not on {parsed.get_backend_name()}")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise LedgerError("a ledger in memory would forget what was paid: name a file")
    return parsed


def _prepare_folder(url: sa.URL, title: str) -> Path:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"{title} {path} cannot be written: {error.strerror}") from None
    return path.parent / f"{path.name}.sessions"


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_S, "check_same_thread": False}, hide_parameters=True, pool_size=4
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:  # noqa: ARG001
        connection.isolation_level = None  # the driver begins no transaction of its own
        for pragma in PRAGMAS:
            _execute_patiently(connection, f"PRAGMA {pragma}")

    return engine


def _execute_patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Execute while other processes open the same new file: SQLite switches to WAL without waiting for its turn."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(RETRY_S)
        else:
            return


def postgresql_engine(url: sa.URL, **options: Any) -> sa.Engine:
    """Return an engine for a database in PostgreSQL; raise LedgerError where its driver is not installed."""
    if url.drivername == "postgresql":  # which driver that means differs between releases of SQLAlchemy
        url = url.set(drivername="postgresql+psycopg2")
    try:
        return sa.create_engine(url, hide_parameters=True, **options)
    except (NoSuchModuleError, ModuleNotFoundError):
        raise LedgerError("a ledger in PostgreSQL needs its driver: pip install 'mmat-dagster[postgres]'") from None


def _postgresql_engine(url: sa.URL) -> sa.Engine:
    engine = postgresql_engine(
        url,
        connect_args=KEEPALIVE,
        isolation_level="READ COMMITTED",  # every statement sees what was committed before: others' work too
        pool_pre_ping=True,
        pool_size=4,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:  # noqa: ARG001
        with connection.cursor() as cursor:
            cursor.execute("; ".join(SETTINGS))
        connection.commit()

    return engine


def _create(connection: sa.Connection, schema: Schema) -> None:
    schema.metadata.create_all(connection)
    found = connection.execute(sa.select(schema.about.c.version)).scalar()
    if found is None:
        connection.execute(schema.about.insert().values(version=schema.version))
    elif found != schema.version:
        raise LedgerError(f"{schema.title} has version {found}, this program reads version {schema.version}")


def _is_away(error: SQLAlchemyError) -> bool:
    """Say whether a connection was lost, or could not be had: what a server complains of has a code."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError) and getattr(error.orig, "pgcode", None) is None


def _reason(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().replace("\n", " ")
