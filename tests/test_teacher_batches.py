"""Batches that go wrong: what they did bring is kept, the rest is asked again, nothing is paid or filled twice."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mmat_dagster.ledger import batches
from mmat_dagster.ledger.batches import NOBODY, Answer, Batch, BatchSize
from mmat_dagster.ledger.books import Books
from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.ledger.orders import Want
from mmat_dagster.spending import BatchState
from tests import postgres, teacher_worker
from tests.chat_server import Body, ServerReply, error_reply
from tests.ledgers import TERMS, make_admit, make_key, make_reply, make_settle, opened
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_batches import BatchOutcome
from tests.teacher_server_brain import brain
from tests.teacher_server_faults import Faults
from tests.teacher_worker import Worker
from tests.teaching import (
    PRICES,
    Job,
    build,
    charged_in_batches,
    count_lines,
    is_built,
    lines_of_batches,
    make_model,
    number_in,
    read_files,
    read_outcome,
    write_problems,
)

worker = teacher_worker.worker
workers = teacher_worker.workers
ledger_url = postgres.ledger_url

SAMPLES = range(1, 61)
SERVER = "http://127.0.0.1/v1"
SIZE = BatchSize(max_requests=10, max_bytes=1_000_000, max_tries=5)


def make_job(folder: Path, server: TeacherServer, **fields: object) -> Job:
    return Job(
        sources=str(write_problems(folder / "sources", SAMPLES, calculates=False)),
        store=str(folder / "store"),
        url=server.url,
        ledger=str(folder / "ledger.sqlite"),
        fields={"mode": "batch", **PRICES, **fields},
    )


def check_all_is_there(job: Job, server: TeacherServer, lost: Sequence[int] = ()) -> None:
    """Every reply was paid once, the ledger knows each, and every sample but the `lost` ones has its dialogue."""
    assert set(server.paid.values()) == {1}
    outcome = read_outcome(job)
    assert outcome.ends == Counter(f"tabmwp/{number}" for number in SAMPLES)
    assert outcome.rejections.keys() == {f"tabmwp/{number}" for number in lost}
    with opened(f"sqlite:///{job.ledger}") as ledger:
        account = ledger.account()
        assert (account.calls, account.prompt_tokens, account.completion_tokens) == charged_in_batches(server)
        assert account.lost_calls == 0
        assert account.reserved_usd == pytest.approx(0.0, abs=1e-9)


def test_what_an_expired_batch_has_done_is_kept_and_the_rest_is_asked_again(tmp_path: Path) -> None:
    def outcome(index: int) -> BatchOutcome:
        return "expired" if index < 2 else "completed"

    with TeacherServer(Behaviour(batch_delay_s=0.0, batch_outcome=outcome)) as server:
        job = make_job(tmp_path, server)
        build(job)
        check_all_is_there(job, server)
        expired = [batch for batch in server.batches if batch.status == "expired"]
        assert len(expired) == 2
        undone = sum(batch.failed for batch in expired)
        assert count_lines(server).total() == server.paid.total() + undone
        assert undone == sum(batch.total for batch in expired) // 2


def test_after_a_batch_that_was_too_much_the_next_ones_are_smaller(tmp_path: Path) -> None:
    def outcome(index: int) -> BatchOutcome:
        return "failed" if index < 2 else "completed"

    with TeacherServer(Behaviour(batch_delay_s=0.0, batch_outcome=outcome)) as server:
        job = make_job(tmp_path, server)
        build(job)
        check_all_is_there(job, server)
        # Half of what was too much, alone, and half of that; when it has ended, all the rest.
        assert [len(lines) for lines in lines_of_batches(server)][:3] == [60, 30, 15]


def test_a_line_that_is_refused_is_a_rejection_and_asked_once(tmp_path: Path) -> None:
    with TeacherServer(Behaviour(batch_delay_s=0.0, faults=Faults(permanent=0.1, only=("400",)))) as server:
        job = make_job(tmp_path, server)
        build(job)
        rejected = read_outcome(job).reasons_by_number("request not accepted")
        assert len(rejected) == server.ledger.faults["400"] > 0
        assert set(count_lines(server).values()) == {1}
        check_all_is_there(job, server, lost=list(rejected))


def test_a_line_at_which_the_server_fails_is_asked_again(tmp_path: Path) -> None:
    with TeacherServer(Behaviour(batch_delay_s=0.0, faults=Faults(transport=0.2, only=("500", "503")))) as server:
        job = make_job(tmp_path, server)
        build(job)
        failed = server.ledger.faults.total()
        assert count_lines(server).total() == server.paid.total() + failed > server.paid.total()
        check_all_is_there(job, server)


def test_a_line_at_which_the_server_always_fails_is_given_up(tmp_path: Path) -> None:
    def script(body: Body) -> str | ServerReply:
        return error_reply(500, "Out of order") if number_in(body) == 7 else brain(body)

    with TeacherServer(Behaviour(batch_delay_s=0.0, script=script)) as server:
        job = make_job(tmp_path, server, max_retries=2)
        build(job)
        assert read_outcome(job).reasons_by_number("teacher gave no reply").keys() == {7}
        assert Counter(count_lines(server).values()) == {1: server.paid.total(), 3: 1}
        check_all_is_there(job, server, lost=[7])


def test_no_batch_has_more_requests_than_allowed(tmp_path: Path) -> None:
    with TeacherServer(Behaviour(batch_delay_s=0.0)) as server:
        job = make_job(tmp_path, server, batch_requests=17)
        build(job)
        assert [len(lines) for lines in lines_of_batches(server)][:4] == [17, 17, 17, 9]
        assert max(len(lines) for lines in lines_of_batches(server)) == 17
        check_all_is_there(job, server)


def test_no_input_file_is_longer_than_allowed(tmp_path: Path) -> None:
    most = 100_000
    with TeacherServer(Behaviour(batch_delay_s=0.0)) as server:
        job = make_job(tmp_path, server, batch_megabytes=most / 1e6)
        build(job)
        sizes = [sum(map(len, lines)) + len(lines) for lines in lines_of_batches(server)]
        assert 0.7 * most < max(sizes) <= most
        assert len(sizes) > 6
        check_all_is_there(job, server)


async def tend_together(jobs: Sequence[Job]) -> list[tuple[BatchState, ...]]:
    """Tend the batches of a ledger by several sessions at once."""
    return await asyncio.gather(*(make_model(job).tend_batches() for job in jobs))


def test_processes_that_poll_at_once_fill_everything_once(tmp_path: Path, workers: list[Worker]) -> None:
    """One builds, another one does nothing but poll."""
    with TeacherServer(Behaviour(batch_delay_s=0.05)) as server:
        job = make_job(tmp_path, server, batch_requests=7)
        workers[0].begin(job)
        polls = 0
        while not is_built(job):
            workers[1].do(replace(job, task="tend"))
            polls += 1
        assert workers[0].end().error == ""
        assert polls > 1
        assert set(count_lines(server).values()) == {1}
        assert sum(state.answered for state in asyncio.run(tend_together([job]))[0]) == server.paid.total()
        check_all_is_there(job, server)


def test_sessions_that_tend_at_once_fill_everything_once(tmp_path: Path) -> None:
    with TeacherServer(Behaviour(batch_delay_s=0.0)) as server:
        job = make_job(tmp_path, server, batch_requests=7)
        # Another name of the same file is another session.
        jobs = [replace(job, ledger=f"{tmp_path}{'/.' * number}/ledger.sqlite") for number in range(4)]
        build(job, tend_by=lambda: asyncio.run(tend_together(jobs)))
        assert set(count_lines(server).values()) == {1}
        check_all_is_there(job, server)


def test_processes_that_build_the_same_at_once_ask_it_once(tmp_path: Path, workers: list[Worker]) -> None:
    with TeacherServer(Behaviour(batch_delay_s=0.05)) as server:
        job = make_job(tmp_path, server, batch_requests=20)
        other = replace(job, store=str(tmp_path / "other"))
        for each, work in zip(workers, (job, other), strict=True):
            each.begin(work)
        assert [each.end().error for each in workers] == ["", ""]
        assert read_files(job) == read_files(other)
        assert set(count_lines(server).values()) == {1}
        check_all_is_there(job, server)


def want(number: int) -> Want:
    """Return the wish for the request with a number."""
    return Want(key=make_key(number), terms=TERMS, request=b"{}", size_bytes=2, reserve_usd=0.0)


async def prepare(ledger: Ledger) -> Batch | None:
    """Make a batch of what is wanted."""

    def work(books: Books) -> object:
        return batches.prepare_batch(books, terms=TERMS, server=SERVER, session=ledger.session, size=SIZE)

    made = await ledger.call(work)
    assert made is None or isinstance(made, Batch)
    return made


async def test_who_wants_what_a_batch_has_just_brought_gets_it_and_no_batch_of_its_own(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        assert await second.find(make_key(1)) is None
        assert await first.want(want(1)) == 0
        batch = await prepare(first)
        assert batch is not None
        brought = replace(make_reply(1), batch=batch.id)
        await first.call(lambda books: batches.fill(books, batch, [Answer(key=make_key(1), reply=brought)]))
        assert await second.want(want(1)) == brought
        assert await prepare(second) is None


async def test_what_is_asked_in_chat_mode_is_in_no_batch(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        assert await first.admit(make_admit(1)) is None
        assert await second.want(want(1)) == 0
        assert await prepare(second) is None
        await first.do(make_settle(1))
        assert await prepare(second) is None
        assert await second.want(want(1)) == make_reply(1)


async def test_who_looked_before_another_one_had_carried_a_batch_on_leaves_it_alone(ledger_url: str) -> None:
    with opened(ledger_url) as first, opened(ledger_url) as second:
        await first.want(want(1))
        made = await prepare(first)
        assert made is not None
        # An upload that failed: nobody tends the batch now.
        await first.call(lambda books: batches.take_over(books, made.id, first.session, NOBODY))
        [seen] = await second.call(lambda books: batches.open_batches(books, SERVER))
        assert await first.take_batch(seen)
        await first.call(lambda books: batches.mark(books, made.id, "submitted", remote_id="batch_1", session=NOBODY))
        assert not await second.take_batch(seen)
        [now] = await second.call(lambda books: batches.open_batches(books, SERVER))
        assert await second.take_batch(now)
