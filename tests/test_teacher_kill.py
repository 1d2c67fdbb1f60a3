"""Processes that are killed again and again: the result is the same, and at most what was in flight is paid twice."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pytest
import sqlalchemy as sa

from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Account
from mmat_dagster.ledger.ledger import Ledger
from tests import postgres, teacher_worker
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_worker import Worker, hire
from tests.teaching import PRICES, Job, count_lines, read_files, write_problems

# Moments are hit more surely, and sooner, where nobody else runs.
pytestmark = pytest.mark.alone
worker = teacher_worker.worker

SAMPLES = range(1, 101)
KILLS = 10
CONCURRENCY = 16
# How long a moment is waited for; it may not come any more. A process that is slow to begin is given more from kill to
# kill, or it would be killed for ever before it has done anything.
PATIENCE_S, MORE = 0.8, 1.08
GLANCE_S = 0.001
CHAT = Behaviour(delay_s=0.06)
BATCH = Behaviour(batch_delay_s=0.1, drop_batch_replies=2)
IN_CHAT: dict[str, object] = {"concurrency": CONCURRENCY, **PRICES}
IN_BATCHES: dict[str, object] = {"mode": "batch", "batch_requests": 30, **PRICES}


@dataclass(frozen=True, kw_only=True)
class Books:
    """What a ledger holds: `left` counts the rows of the tables that are empty where nothing is under way."""

    account: Account
    lost_by_session: tuple[int, ...]
    replies: int
    left: int


Moment: TypeAlias = Callable[[TeacherServer, random.Random], Callable[[], bool]]


def after_requests(server: TeacherServer, dice: random.Random) -> Callable[[], bool]:
    """Wait for a number of chat requests."""
    wanted = len(server.received) + dice.randrange(1, 60)
    return lambda: len(server.received) >= wanted


def after_upload(server: TeacherServer, dice: random.Random) -> Callable[[], bool]:
    """Wait for the next input file: the batch is ordered next."""
    uploads = sum(file.purpose == "batch" for file in server.files) + dice.randrange(1, 3)
    return lambda: sum(file.purpose == "batch" for file in server.files) >= uploads


def after_order(server: TeacherServer, dice: random.Random) -> Callable[[], bool]:
    """Wait for the next batch: its creator hears of it next."""
    orders = len(server.batches) + dice.randrange(1, 3)
    return lambda: len(server.batches) >= orders


def after_a_time(server: TeacherServer, dice: random.Random) -> Callable[[], bool]:
    """Wait for some time."""
    end = time.monotonic() + dice.uniform(0.05, PATIENCE_S)
    return lambda: time.monotonic() > end


IN_CHAT_MOMENTS = (after_requests, after_requests, after_a_time)
IN_BATCH_MOMENTS = (after_upload, after_order, after_a_time)


@pytest.fixture
def fresh_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Give a test new ledgers in the database that it is run with."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/{uuid4().hex}.sqlite"
    return lambda: postgres.fresh_database(request.config)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the source."""
    return write_problems(tmp_path_factory.mktemp("kill") / "sources", SAMPLES)


@pytest.fixture(scope="module")
def undisturbed(sources: Path, request: pytest.FixtureRequest) -> dict[str, bytes]:
    """Return the files of a run that nobody killed."""
    with TeacherServer() as server:
        job = make_job(sources, server, f"sqlite:///{sources}/undisturbed.sqlite", {})
        hire(request.config, 1)[0].do(job)
    return read_files(job)


def make_job(sources: Path, server: TeacherServer, ledger: str, fields: dict[str, object]) -> Job:
    """Return the job to build what `sources` hold into a new folder."""
    return Job(
        sources=str(sources),
        store=str(sources.parent / uuid4().hex),
        url=server.url,
        ledger=ledger,
        fields=fields,
        part_rows=25,
    )


def kill_until_done(
    worker: Worker, job: Job, server: TeacherServer, moments: Sequence[Moment], dice: random.Random
) -> int:
    """Do a job, killed again and again; return how often it was killed before it had ended."""
    for kills in count():
        worker.begin(job)
        wait_for(dice.choice(moments)(server, dice), PATIENCE_S * MORE**kills)
        worker.kill()
        ended = worker.end()
        if not ended.is_killed:
            assert ended.spending is not None, ended.error
            return kills
    raise AssertionError


def wait_for(has_come: Callable[[], bool], patience_s: float) -> None:
    """Wait until a moment has come, but not for ever."""
    end = time.monotonic() + patience_s
    while not has_come() and time.monotonic() < end:
        time.sleep(GLANCE_S)


def read_books(url: str) -> Books:
    """Read a ledger that nobody uses."""
    ledger = Ledger(url)
    try:
        with ledger.database.read() as connection:
            lost = connection.execute(sa.select(tables.sessions.c.lost_calls)).scalars().all()
            rows = {
                table: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (tables.replies, tables.claims, tables.wanted)
            }
        return Books(
            account=ledger.account(),
            lost_by_session=tuple(lost),
            replies=rows[tables.replies],
            left=rows[tables.claims] + rows[tables.wanted],
        )
    finally:
        ledger.close()


@pytest.mark.parametrize("fresh_ledger", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True)
def test_a_killed_chat_run_ends_the_same_and_pays_only_what_was_in_flight_again(
    sources: Path, undisturbed: dict[str, bytes], fresh_ledger: Callable[[], str], worker: Worker
) -> None:
    dice, kills, lost = random.Random(1), 0, 0
    while kills < KILLS:
        with TeacherServer(CHAT) as server:
            job = make_job(sources, server, fresh_ledger(), IN_CHAT)
            kills += kill_until_done(worker, job, server, IN_CHAT_MOMENTS, dice)
            assert read_files(job) == undisturbed
            books, charged = read_books(job.ledger), server.paid + server.paid_unseen
        assert books.replies == books.account.calls == len(charged)
        assert charged.total() - len(charged) <= books.account.lost_calls == sum(books.lost_by_session)
        assert max(books.lost_by_session) <= CONCURRENCY
        assert books.left == 0
        assert books.account.reserved_usd == pytest.approx(0.0, abs=1e-9)
        lost += books.account.lost_calls
    assert lost > 0


@pytest.mark.parametrize("fresh_ledger", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True)
def test_a_killed_batch_run_ends_the_same_and_submits_nothing_twice(
    sources: Path, undisturbed: dict[str, bytes], fresh_ledger: Callable[[], str], worker: Worker
) -> None:
    dice, kills = random.Random(2), 0
    while kills < KILLS:
        with TeacherServer(BATCH) as server:
            job = make_job(sources, server, fresh_ledger(), IN_BATCHES)
            kills += kill_until_done(worker, job, server, IN_BATCH_MOMENTS, dice)
            assert read_files(job) == undisturbed
            books, paid, ordered = read_books(job.ledger), server.paid, count_lines(server)
            assert {batch.status for batch in server.batches} == {"completed"}
        assert set(ordered.values()) == {1}
        assert set(paid.values()) == {1}
        assert books.replies == books.account.calls == len(paid) == len(ordered)
        assert (books.left, books.account.lost_calls) == (0, 0)
        assert books.account.reserved_usd == pytest.approx(0.0, abs=1e-9)
