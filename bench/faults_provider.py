"""Faults of the provider: requests that fail, a server that is away, a budget that is reached, batches that are left.

The stand-in server counts what it charged; nothing here is taken from the program's own books.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.faults_rows import Row, room, spread, wait_for
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_faults import MALFORMED, TRANSPORT, Faults, canonical_sha
from tests.teacher_worker import Worker
from tests.teaching import PRICES, Job, count_lines, is_built, read_outcome, write_problems

DIALOGUES = 300
SHARE = 0.05
DELAY_S = 0.05
# A stalled request is given up after so long; in use it is 120 s.
TIMEOUT_S = 5.0
CONCURRENCY = 16
AWAY_S = 10.0
BUDGET_USD, RICH_USD = 200.0, 10_000.0
BATCH_KILLS = 10


@contextmanager
def hired() -> Iterator[Worker]:
    """Yield a process that does jobs, and end it."""
    worker = Worker()
    try:
        yield worker
    finally:
        worker.close()


def make_job(folder: Path, url: str, **fields: object) -> Job:
    """Return the job to build RR dialogues of DIALOGUES problems."""
    return Job(
        sources=str(write_problems(folder / "sources", range(1, DIALOGUES + 1))),
        store=str(folder / "store"),
        url=url,
        ledger=str(folder / "ledger.sqlite"),
        fields={"timeout_s": TIMEOUT_S, "concurrency": CONCURRENCY, "backoff_s": 1.0, **fields},
        concurrency=CONCURRENCY,
    )


def lost_in(job: Job) -> int:
    """Return how many dialogues are neither there nor rejected with a reason, exactly once."""
    ends = read_outcome(job).ends
    return DIALOGUES - sum(ends[f"tabmwp/{number}"] == 1 for number in range(1, DIALOGUES + 1))


def doubled_by(*servers: TeacherServer) -> int:
    """Return how many completions were charged for a request that had been charged before, seen or not."""
    charged = sum((server.paid + server.paid_unseen for server in servers), Counter[str]())
    return charged.total() - len(charged)


def measure_provider() -> Iterator[Row]:
    """Yield a row for each fault of the transport, and one for replies that are of no use."""
    with hired() as worker:
        for fault in TRANSPORT:
            yield _measure_fault(worker, str(fault), Faults(transport=SHARE, only=(fault,), retry_after_s=1.0))
        yield _measure_fault(worker, "a reply that is paid and of no use", Faults(malformed=SHARE, only=MALFORMED))


def _measure_fault(worker: Worker, name: str, faults: Faults) -> Row:
    with room() as folder, TeacherServer(Behaviour(faults=faults, delay_s=DELAY_S)) as server:
        job = make_job(folder, server.url)
        worker.do(job)
        drawn, asked = server.ledger.faults.total(), len(server.received)
        rejected = read_outcome(job).reasons().total()
        is_paid = bool(faults.malformed)
        doubled = f"{doubled_by(server)}" + (": the provider charged what it broke off" if server.paid_unseen else "")
        return Row(
            fault=f"provider: {name}",
            tried=f"{drawn} in {asked:,} requests of {DIALOGUES} dialogues",
            lost=f"{lost_in(job)}" + (f"; {rejected} rejected by name" if rejected else ""),
            doubled=doubled + ("; each asks for one repair" if is_paid else ""),
            recovered="the next request" if is_paid else spread(_pauses(server)),
        )


def _pauses(server: TeacherServer) -> list[float]:
    """Return how long after each failed attempt the next one came."""
    came = {(canonical_sha(each.body), each.attempt): each.at for each in server.received}
    failed = [(canonical_sha(each.body), each.attempt, each.at) for each in server.received if each.fault is not None]
    return [came[sha, attempt + 1] - at for sha, attempt, at in failed if (sha, attempt + 1) in came]


def measure_outage() -> Iterator[Row]:
    """Yield a row for a provider that is away for a while, and one for a longer time than a run waits."""
    with hired() as worker:
        yield _measure_short_outage(worker)
        yield _measure_long_outage(worker)


def _measure_short_outage(worker: Worker) -> Row:
    with room() as folder:
        with TeacherServer(Behaviour(delay_s=DELAY_S)) as first:
            job = make_job(folder, first.url)
            worker.begin(job)
            wait_for(lambda: len(first.received) >= DIALOGUES, "the middle of the run")
        time.sleep(AWAY_S)
        with TeacherServer(Behaviour(delay_s=DELAY_S), port=port_of(first)) as second:
            back = time.monotonic()
            ended = worker.end()
            assert ended.spending is not None, ended.error
            return Row(
                fault=f"provider away for {AWAY_S:g} s in the middle of a run",
                tried=f"once, with {CONCURRENCY} requests under way",
                lost=f"{lost_in(job)}",
                doubled=f"{doubled_by(first, second)}",
                recovered=f"{second.received[0].at - back:.1f} s after it was back, in the same run",
            )


def _measure_long_outage(worker: Worker) -> Row:
    with room() as folder:
        with TeacherServer(Behaviour(delay_s=DELAY_S)) as first:
            job = make_job(folder, first.url, max_retries=2)
            worker.begin(job)
            wait_for(lambda: len(first.received) >= DIALOGUES, "the middle of the run")
        told = worker.end().error
        assert told.startswith("TeacherUnavailable"), told
        with TeacherServer(Behaviour(delay_s=DELAY_S), port=port_of(first)) as second:
            begun = time.monotonic()
            worker.do(job)
            return Row(
                fault="provider away until the run gives up; run again",
                tried="once (2 retries)",
                lost=f"{lost_in(job)}",
                doubled=f"{doubled_by(first, second)}",
                recovered=f"{second.received[0].at - begun:.1f} s of the rerun",
            )


def port_of(server: TeacherServer) -> int:
    """Return the port of a server."""
    return int(server.url.rpartition(":")[2].partition("/")[0])


def measure_budget() -> Iterator[Row]:
    """Yield the row of a budget that is reached, and raised."""
    with hired() as worker, room() as folder, TeacherServer(Behaviour(delay_s=DELAY_S)) as server:
        job = make_job(folder, server.url, budget_usd=BUDGET_USD, **PRICES)
        worker.begin(job)
        told = worker.end().error
        assert told.startswith("BudgetReached"), told
        before = len(server.received)
        begun = time.monotonic()
        worker.do(job.but(budget_usd=RICH_USD))
        yield Row(
            fault="budget reached; raised, run again",
            tried=f"once, after {before:,} of {len(server.received):,} requests",
            lost=f"{lost_in(job)}",
            doubled=f"{doubled_by(server)}",
            recovered=f"{server.received[before].at - begun:.1f} s of the rerun",
        )


def measure_batch() -> Iterator[Row]:
    """Yield the row of batches whose process is killed between upload and collection."""
    behaviour = Behaviour(batch_delay_s=0.2, drop_batch_replies=2)
    with hired() as worker, room() as folder, TeacherServer(behaviour) as server:
        job = make_job(folder, server.url, mode="batch", batch_requests=60)
        kills = [_kill_after_order(worker, replace(job, part_rows=100), server) for _ in range(BATCH_KILLS)]
        worker.do(replace(job, part_rows=100))
        twice = sum(count - 1 for count in count_lines(server).values())
        yield Row(
            fault="SIGKILL between a batch's upload and its collection; run again",
            tried=f"{sum(kills)} kills, {len(server.batches)} batches, 2 of whose orders nobody answered",
            lost=f"{lost_in(job)}",
            doubled=f"{doubled_by(server)} replies; {twice} requests ordered twice",
            recovered="the next run collects it",
        )


def _kill_after_order(worker: Worker, job: Job, server: TeacherServer) -> int:
    """Kill the program when it has uploaded the next input file; return how many kills that were."""
    uploads = sum(file.purpose == "batch" for file in server.files) + 1
    worker.begin(job)
    wait_for(lambda: is_built(job) or sum(file.purpose == "batch" for file in server.files) >= uploads, "an upload")
    worker.kill()
    return int(worker.end().is_killed)
