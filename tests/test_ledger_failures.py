"""A ledger that does not work: everybody is told why, nothing more is sent, and no password is told."""

import asyncio
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from mmat_dagster.interfaces import LedgerError
from mmat_dagster.ledger import ledger as ledger_module
from mmat_dagster.ledger.database import Database, LedgerAway
from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.ledger.orders import Settle, StoredReply
from tests import postgres
from tests.ledgers import TERMS, make_admit, make_key, make_reply, make_settle, opened
from tests.postgres import (
    PASSWORD,
    execute,
    free_port,
    prepare,
    require_postgres,
    run_postgres,
    serve,
    temporary_folder,
)

ledger_url = postgres.ledger_url
postgres_url = postgres.postgres_url


def url_in(folder: Path) -> str:
    """Return the URL of a ledger in a folder."""
    return f"sqlite:///{folder}/ledger.sqlite"


@contextmanager
def full_disk(ledger: Ledger) -> Iterator[None]:
    """Let the SQLite file grow no further: `database or disk is full`, as on a full disk."""

    def stop_growing(connection: sqlite3.Connection, record: object, proxy: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite makes that the present size

    sa.event.listen(ledger.database.engine, "checkout", stop_growing)
    try:
        yield
    finally:
        sa.event.remove(ledger.database.engine, "checkout", stop_growing)


def settle_large(number: int) -> Settle:
    """Return the order to store a reply that does not fit into the pages there are."""
    return Settle(
        key=make_key(number),
        terms=TERMS,
        tokens=0.0,
        reserve_usd=0.0,
        reply=StoredReply(status=200, body=os.urandom(200_000)),
    )


async def test_on_a_full_disk_all_are_told_and_nothing_more_is_sent(tmp_path: Path) -> None:
    with opened(url_in(tmp_path)) as ledger, full_disk(ledger):
        await ledger.do(make_settle(1))
        told = await asyncio.gather(
            *(ledger.do(settle_large(number)) for number in range(2, 12)), return_exceptions=True
        )
        assert all(isinstance(each, LedgerError) and "full" in str(each) for each in told)
        assert len({id(each) for each in told}) == len(told)
        for _ in range(2):
            with pytest.raises(LedgerError, match="full"):
                await ledger.admit(make_admit(20))
        assert await ledger.find(make_key(1)) == make_reply(1)
        assert await ledger.find(make_key(2)) is None


async def test_a_request_that_waits_when_the_ledger_breaks_is_told(tmp_path: Path) -> None:
    with opened(url_in(tmp_path)) as first, opened(url_in(tmp_path)) as second:
        await first.admit(make_admit(1))
        waiting = asyncio.create_task(second.admit(make_admit(1)))
        await asyncio.sleep(0.1)
        with full_disk(second):
            with pytest.raises(LedgerError, match="full"):
                await second.do(settle_large(2))
            with pytest.raises(LedgerError, match="full"):
                await waiting


async def test_a_ledger_whose_tables_vanish_tells_it(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        with ledger.database.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE replies RENAME TO gone")
        with pytest.raises(LedgerError, match="replies") as told:
            await ledger.find(make_key(1))
        assert PASSWORD not in str(told.value)
        with pytest.raises(LedgerError, match="replies"):
            await ledger.do(make_settle(1))


async def test_postgresql_stopped_in_the_middle_tells_all_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    require_postgres()
    monkeypatch.setattr(ledger_module, "AWAY_S", 0.0)
    with temporary_folder() as folder:
        with run_postgres(folder) as server:
            ledger = Ledger(f"{server}/postgres")
            assert await ledger.admit(make_admit(1)) is None
            await ledger.find(make_key(1))
        for asked in (ledger.do(make_settle(1)), ledger.admit(make_admit(2)), ledger.find(make_key(1))):
            with pytest.raises(LedgerError, match="does not work") as told:
                await asked
            assert PASSWORD not in str(told.value)
        with pytest.raises(LedgerError, match="does not work"):
            ledger.close()


async def test_postgresql_that_is_restarted_is_waited_for_and_no_paid_reply_is_lost() -> None:
    require_postgres()
    with temporary_folder() as folder:
        prepare(folder)
        port = free_port()
        with serve(folder, port) as server:
            ledger = Ledger(f"{server}/postgres")
            for number in range(3):
                assert await ledger.admit(make_admit(number, usd=0.5)) is None
        late = [asyncio.create_task(ledger.do(make_settle(number, reserved=0.5, usd=0.25))) for number in range(3)]
        asked = [asyncio.create_task(ledger.admit(make_admit(9))), asyncio.create_task(ledger.find(make_key(0)))]
        done, _ = await asyncio.wait([*late, *asked], timeout=0.3)
        assert not done
        with serve(folder, port):
            await asyncio.gather(*late)
            assert (await asyncio.gather(*asked))[0] is None
            assert [await ledger.find(make_key(number)) for number in range(3)] == [
                make_reply(number, 0.25) for number in range(3)
            ]
            account = ledger.account()
            assert (account.calls, account.spent_usd, account.reserved_usd) == (3, 0.75, 0.0)
            await ledger.do(make_settle(9))
            ledger.close()


@pytest.mark.parametrize("moment", ["before it was committed", "after it was committed"])
async def test_what_was_under_way_as_a_connection_was_lost_is_done_once(
    moment: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "TRY_AGAIN_S", 0.01)
    with opened(postgres_url) as ledger:
        begin, turns = ledger.database.begin, count()

        @contextmanager
        def losing() -> Iterator[sa.Connection]:
            """Lose every other connection."""
            is_lost = next(turns) % 2 == 0
            with begin() as connection:
                yield connection
                if is_lost and moment.startswith("before"):
                    raise LedgerAway("the connection was lost")
            if is_lost:
                raise LedgerAway("the connection was lost")

        monkeypatch.setattr(ledger.database, "begin", losing)
        assert await ledger.admit(make_admit(1, usd=0.5)) is None
        await ledger.do(make_settle(1, reserved=0.5, usd=0.25))
        account = ledger.account()
        assert (account.calls, account.spent_usd, account.reserved_usd) == (1, 0.25, 0.0)
        assert await ledger.admit(make_admit(1)) == make_reply(1, 0.25)
        monkeypatch.undo()


def test_a_server_that_is_not_there_is_told_without_a_password() -> None:
    with closing(socket.socket()) as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = (
            f"postgresql://mmat:{PASSWORD}@127.0.0.1:{taken.getsockname()[1]}/ledger?sslmode=disable&application_name=x"
        )
        with pytest.raises(LedgerError, match="does not work") as told:
            Ledger(url)
    assert "mmat:***@127.0.0.1" in str(told.value)
    assert PASSWORD not in str(told.value)


def test_a_password_in_the_query_is_not_told_either(postgres_url: str) -> None:
    place = postgres_url.split("@")[1]
    with opened(f"postgresql://{place}?user=mmat&password={PASSWORD}") as ledger:
        assert ledger.name == f"postgresql://{place}"


def test_an_unknown_user_is_told_without_a_password(postgres_url: str) -> None:
    with pytest.raises(LedgerError, match='role "stranger" does not exist') as told:
        Ledger(postgres_url.replace("//mmat:", "//stranger:"))
    assert PASSWORD not in str(told.value)


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    for name in [name for name in sys.modules if name.startswith("psycopg2.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(LedgerError, match=r"pip install 'mmat-dagster\[postgres\]'"):
        Ledger(f"postgresql://mmat:{PASSWORD}@127.0.0.1/ledger")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://mmat:pw@127.0.0.1/ledger", "runs on sqlite and postgresql, not on mysql"),
        ("data/ledger.sqlite", "the ledger's URL is none"),
        ("", "the ledger's URL is none"),
        ("postgresql://mmat:pw#@127.0.0.1:pw/ledger", "the ledger's URL is none"),
        ("sqlite://", "in memory would forget"),
        ("sqlite:///:memory:", "in memory would forget"),
    ],
)
def test_a_url_that_names_no_ledger_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(LedgerError, match=complaint) as told:
        Database(url)
    assert "pw" not in str(told.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_text("What I spent on my holidays. " * 200)
    with pytest.raises(LedgerError, match="file is not a database"):
        Ledger(f"sqlite:///{path}")
    assert path.read_text().startswith("What I spent")


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="unable to open database file"):
        Ledger(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"file/ledger\.sqlite cannot be written"):
        Ledger(f"sqlite:///{tmp_path}/file/ledger.sqlite")


def test_a_folder_of_sessions_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite.sessions").touch()
    with pytest.raises(LedgerError, match=r"ledger\.sqlite\.sessions cannot be written"):
        Ledger(url_in(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LedgerError, match="unable to open database file"):
        Ledger(url_in(tmp_path))


def test_a_ledger_of_another_version_is_refused_and_left_alone(ledger_url: str) -> None:
    with opened(ledger_url) as ledger, ledger.database.begin() as connection:
        connection.exec_driver_sql("UPDATE about SET version = 99")
        connection.exec_driver_sql("DROP TABLE batches")
    with pytest.raises(LedgerError, match="has version 99, this program reads version"):
        Ledger(ledger_url)
    by_driver = ledger_url.replace("postgresql://", "postgresql+psycopg2://")
    engine = sa.create_engine(by_driver)
    assert "batches" not in sa.inspect(engine).get_table_names()
    engine.dispose()


def test_a_ledger_in_a_schema_of_its_own_is_left_there(postgres_url: str) -> None:
    execute(postgres_url, "CREATE SCHEMA replies_of_mmat")
    with opened(f"{postgres_url}?options=-csearch_path%3Dreplies_of_mmat"):
        pass
    execute(postgres_url, "SELECT version FROM replies_of_mmat.about")
