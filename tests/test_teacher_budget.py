"""Budgets that are reached in the middle of a run: never overspent, nothing lost, and a way to go on."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mmat_dagster.ledger.ledger import Ledger
from tests import teacher_worker
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_worker import Worker
from tests.teaching import (
    PRICES,
    USD_IN,
    USD_OUT,
    Job,
    charged_in_batches,
    charged_in_chat,
    read_outcome,
    write_problems,
)

worker = teacher_worker.worker
workers = teacher_worker.workers

SAMPLES = range(1, 41)
# All replies cost $239. A request of this job may cost up to about $11, and costs about $1.20.
BUDGET_USD = 80.0
MOST_OF_ONE_USD = 12.0
RICH_USD = 1000.0


def make_job(folder: Path, server: TeacherServer, **fields: object) -> Job:
    return Job(
        sources=str(write_problems(folder / "sources", SAMPLES)),
        store=str(folder / "store"),
        url=server.url,
        ledger=str(folder / "ledger.sqlite"),
        fields={**PRICES, "concurrency": 16, **fields},
    )


def fail(worker: Worker, job: Job) -> str:
    """Do a job that has to fail, and return why it did."""
    worker.begin(job)
    ended = worker.end()
    assert ended.spending is None
    return ended.error


def charged_usd(server: TeacherServer) -> float:
    """Return the dollars of all that the server was paid for."""
    _, prompt, completion = charged_in_chat(server)
    _, batch_prompt, batch_completion = charged_in_batches(server)
    return (prompt + batch_prompt / 2) * USD_IN + (completion + batch_completion / 2) * USD_OUT


def check_spent(job: Job, usd: float, run_id: str | None = None) -> None:
    """Check what the job's ledger says was spent, and that nothing is reserved any more."""
    ledger = Ledger(f"sqlite:///{job.ledger}")
    try:
        account = ledger.account(run_id)
    finally:
        ledger.close()
    assert account.spent_usd == pytest.approx(usd)
    assert account.reserved_usd == pytest.approx(0.0, abs=1e-6)


def check_all_is_there(job: Job, server: TeacherServer) -> None:
    assert set(server.paid.values()) == {1}
    assert read_outcome(job).dialogues == Counter(f"tabmwp/{number}" for number in SAMPLES)
    check_spent(job, charged_usd(server))


def test_a_run_stops_at_the_budget_and_a_higher_one_pays_only_the_rest(tmp_path: Path, worker: Worker) -> None:
    with TeacherServer(Behaviour(delay_s=0.02)) as server:
        job = make_job(tmp_path, server, budget_usd=BUDGET_USD)
        error = fail(worker, job)
        assert error.startswith(f"BudgetReached: the budget of ${BUDGET_USD:g} in all is reached: $")
        assert "raise `budget_usd` and run again to go on where this run has stopped" in error
        at_stop_usd, paid = charged_usd(server), server.paid
        assert BUDGET_USD - MOST_OF_ONE_USD < at_stop_usd <= BUDGET_USD
        check_spent(job, at_stop_usd)
        assert fail(worker, job).startswith("BudgetReached")
        assert server.paid == paid
        worker.do(job.but(budget_usd=RICH_USD))
        check_all_is_there(job, server)
        assert charged_usd(server) > BUDGET_USD + MOST_OF_ONE_USD


def test_every_run_stops_at_its_own_budget_until_all_is_paid(tmp_path: Path, worker: Worker) -> None:
    with TeacherServer() as server:
        job = make_job(tmp_path, server, budget_usd_per_run=BUDGET_USD)
        for number in (1, 2, 3):
            before_usd = charged_usd(server)
            error = fail(worker, replace(job, run_id=f"run-{number}"))
            assert f"${BUDGET_USD:g} for this run is reached" in error
            assert "raise `budget_usd_per_run` and run again" in error
            assert BUDGET_USD - MOST_OF_ONE_USD < charged_usd(server) - before_usd <= BUDGET_USD
            check_spent(job, charged_usd(server) - before_usd, f"run-{number}")
        worker.do(replace(job, run_id="the last run"))
        check_all_is_there(job, server)


def test_two_processes_keep_one_budget_together(tmp_path: Path, workers: list[Worker]) -> None:
    with TeacherServer(Behaviour(delay_s=0.02)) as server:
        job = make_job(tmp_path, server, budget_usd=BUDGET_USD)
        other = replace(
            job, store=str(tmp_path / "other"), sources=str(write_problems(tmp_path / "others", range(101, 141)))
        )
        for each, work in zip(workers, (job, other), strict=True):
            each.begin(work)
        ended = [each.end() for each in workers]
        assert [each.error.partition(":")[0] for each in ended] == ["BudgetReached"] * 2
        assert BUDGET_USD - MOST_OF_ONE_USD < charged_usd(server) <= BUDGET_USD
        check_spent(job, charged_usd(server))
        for each, work in zip(workers, (job, other), strict=True):
            each.begin(work.but(budget_usd=RICH_USD))
        assert [each.end().error for each in workers] == ["", ""]
        check_all_is_there(job, server)


def test_batches_stop_at_the_budget_and_a_higher_one_pays_only_the_rest(tmp_path: Path, worker: Worker) -> None:
    with TeacherServer(Behaviour(batch_delay_s=0.0)) as server:
        job = make_job(tmp_path, server, mode="batch", budget_usd=BUDGET_USD / 2)
        error = fail(worker, job)
        assert f"${BUDGET_USD / 2:g} in all is reached" in error
        assert (BUDGET_USD - MOST_OF_ONE_USD) / 2 < charged_usd(server) <= BUDGET_USD / 2
        check_spent(job, charged_usd(server))
        worker.do(job.but(budget_usd=RICH_USD))
        check_all_is_there(job, server)
