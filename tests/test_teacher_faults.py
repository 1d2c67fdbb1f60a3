"""Whole runs against a server with faults: every sample ends once, no good reply is lost, and none is paid twice."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mmat_dagster.ledger.accounts import Account
from mmat_dagster.ledger.ledger import Ledger
from tests import teacher_worker
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_brain import root_of
from tests.teacher_server_faults import MALFORMED, PERMANENT, TRANSPORT, Fault, Faults, canonical_sha
from tests.teacher_worker import Worker
from tests.teaching import Job, charged_in_batches, charged_in_chat, number_in, read_files, read_outcome, write_problems

# A reply that is late because others run counts as stalled and is paid twice.
pytestmark = pytest.mark.alone
worker = teacher_worker.worker

SAMPLES = 1000
SAMPLES_IN_BATCHES = 300
SAMPLES_WITHOUT_WORD = 40
# Half a second passes after a 429 that does not say how long: these have a test of their own.
NO_WORD: Fault = "429 without"
FAULTS = Faults(
    transport=0.1,
    malformed=0.04,
    permanent=0.01,
    only=tuple(fault for fault in (*TRANSPORT, *MALFORMED, *PERMANENT) if fault != NO_WORD),
    retry_after_s=0.01,
)
BEHAVIOUR = Behaviour(faults=FAULTS)
# A stalled request is given up after that; a reply never takes so long.
TIMEOUT_S = 3.0
REASONS: dict[Fault | None, str] = {
    "400": "request not accepted",
    "context length": "request not accepted",
    "content policy": "teacher refused",
    "refusal": "teacher refused",
}
# Of the 3,750 requests of 1,000 samples; by chance there are about twice as many of each.
AT_LEAST = {"permanent": 10, "transport": 200, "repaired": 60}


def make_job(folder: Path, server: TeacherServer, samples: int) -> Job:
    return Job(
        sources=str(write_problems(folder / "sources", range(1, samples + 1), calculates=False)),
        store=str(folder / "store"),
        url=server.url,
        ledger=str(folder / "ledger.sqlite"),
        fields={"timeout_s": TIMEOUT_S, "concurrency": 48},
        concurrency=400,  # the others go on while one is stalled
        part_rows=500,
    )


def account_of(job: Job) -> Account:
    """Return what the job's ledger says was spent in all."""
    ledger = Ledger(f"sqlite:///{job.ledger}")
    try:
        return ledger.account()
    finally:
        ledger.close()


def booked(account: Account) -> tuple[int, int, int]:
    """Return calls and tokens in and out of an account."""
    return account.calls, account.prompt_tokens, account.completion_tokens


def test_a_thousand_samples_end_once_each_and_no_reply_is_paid_twice(tmp_path: Path, worker: Worker) -> None:
    with TeacherServer(BEHAVIOUR) as server:
        job = make_job(tmp_path, server, SAMPLES)
        spending = worker.do(job)
        received = list(server.received)
        built = read_files(job)
        shutil.rmtree(job.store)
        again = worker.do(job)
        assert len(server.received) == len(received)
    assert read_files(job) == built
    assert (again.calls, again.reused, again.retries) == (0, spending.asked, 0)

    outcome = read_outcome(job)
    assert outcome.ends == Counter(f"tabmwp/{number}" for number in range(1, SAMPLES + 1))
    permanent = [each for each in received if each.fault in PERMANENT]
    assert len(permanent) > AT_LEAST["permanent"]
    assert outcome.reasons_by_number(*REASONS.values()) == {
        number_in(each.body): REASONS[each.fault] for each in permanent
    }
    # One request each, though a conversation that is refused at its first request would be at every other.
    assert max(Counter(root_of(each.body) for each in permanent).values()) == 1
    assert set(outcome.reasons()) == {*REASONS.values(), "malformed teacher reply"}

    drawn = Counter(each.fault for each in received if each.fault is not None)
    assert drawn.keys() == set(FAULTS.only)
    assert spending.retries == sum(drawn[fault] for fault in TRANSPORT) > AT_LEAST["transport"]
    assert sum(drawn[fault] for fault in MALFORMED) >= spending.repaired > AT_LEAST["repaired"]
    # A reply that broke off in its middle was paid, and had to be asked for again; nothing else was paid twice.
    broken_off = Counter(canonical_sha(each.body) for each in received if each.fault == "reset in mid-body")
    assert server.paid_unseen == broken_off
    assert set(server.paid.values()) == {1}

    account = account_of(job)
    assert booked(account) == charged_in_chat(server)
    assert account.calls == spending.calls == server.paid.total()
    assert (account.lost_calls, account.reserved_usd) == (0, 0.0)


def test_a_429_that_does_not_say_how_long_is_waited_out(tmp_path: Path, worker: Worker) -> None:
    with TeacherServer(Behaviour(faults=Faults(transport=0.05, only=(NO_WORD,)))) as server:
        job = make_job(tmp_path, server, SAMPLES_WITHOUT_WORD)
        spending = worker.do(job)
        assert server.ledger.faults[NO_WORD] == spending.limited == spending.retries > 0
        assert set(server.paid.values()) == {1}
        assert len(server.paid) == spending.calls
    outcome = read_outcome(job)
    assert (
        outcome.ends
        == outcome.dialogues
        == Counter(f"tabmwp/{number}" for number in range(1, SAMPLES_WITHOUT_WORD + 1))
    )


def test_batches_with_failing_lines_end_like_the_chat_that_reuses_their_replies(tmp_path: Path, worker: Worker) -> None:
    with TeacherServer(replace(BEHAVIOUR, batch_delay_s=0.0)) as server:
        job = make_job(tmp_path, server, SAMPLES_IN_BATCHES)
        spending = worker.do(job.but(mode="batch"))
        built, paid, lines = read_files(job), server.paid, charged_in_batches(server)
        shutil.rmtree(job.store)
        again = worker.do(job)
        assert server.received == []
        assert server.paid == paid
    assert read_files(job) == built
    assert (again.calls, again.asked) == (0, again.reused)

    outcome = read_outcome(job)
    assert outcome.ends == Counter(f"tabmwp/{number}" for number in range(1, SAMPLES_IN_BATCHES + 1))
    assert set(outcome.reasons()) <= {*REASONS.values(), "malformed teacher reply"}
    assert set(outcome.reasons()) & set(REASONS.values())
    faults = server.ledger.faults
    assert sum(faults[fault] for fault in PERMANENT) == sum(
        outcome.reasons()[reason] for reason in set(REASONS.values())
    )
    assert sum(faults[fault] for fault in TRANSPORT) > 0
    assert set(server.paid.values()) == {1}

    account = account_of(job)
    assert booked(account) == lines
    assert account.calls == spending.calls == paid.total()
    assert (account.lost_calls, account.reserved_usd) == (0, 0.0)
