"""Rate limits that a server enforces are used up and kept: the one place where a test looks at the clock."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from mmat_dagster.ledger.buckets import SLOWED, Bucket, Limits, RateSeen
from tests import teacher_worker
from tests.chat_server import Body
from tests.teacher_server import Behaviour, TeacherServer
from tests.teacher_server_limits import count_completion, count_prompt
from tests.teacher_worker import Worker
from tests.teaching import Job

# The clock tells of the limits only where nobody else slows the requests down.
pytestmark = pytest.mark.alone
worker = teacher_worker.worker
workers = teacher_worker.workers

TPM = 200_000
RPM = 300
REQUESTS = 500
# 500 requests of some 546 tokens are 73,000 more than a full bucket holds: 22 s at 200,000 a minute.
CHARS = 1960
REPLY = f'{{"ok": "{"x" * 171}"}}'
LATENCY_S = 0.2
MARGIN, MARGIN_S = 1.05, 0.5
# Two processes never begin at once: what the later one misses at the start is not made up for in a short race.
APART_S = 1.0
# A first wave may meet limits that nobody has told yet.
MOST_REFUSED = 2
MOST_REFUSED_TOGETHER = 4


@dataclass(frozen=True, kw_only=True)
class Race:
    """How long the requests took, how long they had to, and how many were refused on the way."""

    took_s: float
    ideal_s: float
    refused: int
    answered: int
    late_s: float

    @property
    def is_on_time(self) -> bool:
        """Whether the limits were used up."""
        return self.ideal_s - MARGIN_S <= self.took_s <= self.ideal_s * MARGIN + self.late_s

    @property
    def is_on_time_or_slowed(self) -> bool:
        """Whether they were, or at the slowed pace after a refusal: in a short race there is no time to catch up."""
        return self.is_on_time or (self.refused > 0 and self.took_s <= self.ideal_s / SLOWED + self.late_s)


def reply(body: Body) -> str:
    """Say the same to everybody."""
    return REPLY


def make_job(folder: Path, server: TeacherServer, count: int, **fields: object) -> Job:
    return Job(
        sources=str(folder),
        store=str(folder),
        url=server.url,
        ledger=str(folder / "ledger.sqlite"),
        fields=fields,
        task="ask",
        count=count,
        chars=CHARS,
    )


def race(server: TeacherServer, late_s: float = MARGIN_S) -> Race:
    """Sum up what the server has seen."""
    answered = [each for each in server.received if each.status == 200]
    tokens = sum(count_prompt(each.body, 0) + count_completion(REPLY) for each in answered)
    limits = server.behaviour
    waits = [0.0]
    waits += [(tokens - limits.tpm) * 60 / limits.tpm] if limits.tpm else []
    waits += [(len(answered) - limits.rpm) * 60 / limits.rpm] if limits.rpm else []
    return Race(
        took_s=answered[-1].at - answered[0].at + LATENCY_S,
        ideal_s=max(waits) + LATENCY_S,
        refused=sum(each.status == 429 for each in server.received),
        answered=len(answered),
        late_s=late_s,
    )


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"tokens_per_minute": TPM}, id="configured"),
        pytest.param({}, id="learned", marks=pytest.mark.long),
    ],
)
def test_a_limit_of_tokens_is_used_up_and_kept(tmp_path: Path, worker: Worker, fields: dict[str, object]) -> None:
    with TeacherServer(Behaviour(script=reply, tpm=TPM, delay_s=LATENCY_S)) as server:
        spending = worker.do(make_job(tmp_path, server, REQUESTS, **fields))
        seen = race(server)
    assert seen.answered == spending.calls == REQUESTS
    assert 20 < seen.ideal_s < 25
    assert seen.is_on_time, seen
    assert seen.refused == spending.limited <= MOST_REFUSED, seen


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="learned"),
        pytest.param({"requests_per_minute": RPM}, id="configured", marks=pytest.mark.long),
    ],
)
def test_a_limit_of_requests_is_used_up_and_kept(tmp_path: Path, worker: Worker, fields: dict[str, object]) -> None:
    with TeacherServer(Behaviour(script=reply, rpm=RPM, delay_s=LATENCY_S)) as server:
        spending = worker.do(make_job(tmp_path, server, RPM + 20, **fields))
        seen = race(server)
    assert seen.answered == spending.calls == RPM + 20
    assert seen.is_on_time_or_slowed, seen
    assert seen.refused == spending.limited <= MOST_REFUSED, seen


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        pytest.param({"rpm": RPM}, RPM + 20, id="requests"),
        pytest.param({"tpm": TPM}, REQUESTS, id="tokens", marks=pytest.mark.long),
    ],
)
def test_two_processes_keep_one_limit_together(
    tmp_path: Path, workers: list[Worker], limits: dict[str, float], count: int
) -> None:
    half = count // 2
    with TeacherServer(Behaviour(script=reply, delay_s=LATENCY_S, **limits)) as server:  # type: ignore[arg-type]
        for index, each in enumerate(workers):
            job = make_job(tmp_path, server, half)
            each.begin(Job(**{**vars(job), "first": index * half}))
        ended = [each.end() for each in workers]
        seen = race(server, MARGIN_S + APART_S)
    assert [each.spending and each.spending.calls for each in ended] == [half, half], ended
    assert set(server.paid.values()) == {1}
    assert seen.is_on_time_or_slowed, seen
    assert seen.refused <= MOST_REFUSED_TOGETHER, seen


def test_what_is_under_way_when_a_limit_becomes_known_comes_out_of_it() -> None:
    """The first reply tells of itself; the others were sent before anybody knew of a limit."""
    unknown = Limits(name="scripted")
    bucket = Bucket.full(unknown, 1000.0)
    for _ in range(16):
        bucket.take(500.0)
    told = RateSeen(requests_per_minute=RPM, tokens_per_minute=TPM, requests_left=RPM - 1, tokens_left=TPM - 500)
    bucket.heed(told, unknown)
    assert (bucket.requests, bucket.tokens) == (RPM - 16, TPM - 16 * 500)


def test_what_was_sent_long_before_a_limit_became_known_does_not_come_out_of_it() -> None:
    unknown = Limits(name="scripted")
    bucket = Bucket.full(unknown, 1000.0)
    for _ in range(10_000):
        bucket.take(500.0)
    bucket.refill(1060.0)
    bucket.heed(RateSeen(requests_per_minute=RPM, tokens_per_minute=TPM), unknown)
    assert (bucket.requests, bucket.tokens) == (RPM, TPM)
