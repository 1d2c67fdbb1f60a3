"""Progress is counted record by record, and told in one line: done, lost, waiting, what the teacher did and cost."""

from collections import Counter

import pytest

from assets.reporting import Rates, line
from mmat_dagster.parts import Part
from mmat_dagster.progress import Pending, Progress, Tally, duration
from mmat_dagster.schema import Rejection
from mmat_dagster.spending import Spending

LOST = Rejection(source="tabmwp", record_id="tabmwp/2", stage="rationales", reason="teacher refused", detail="no")
PROGRESS = Progress(
    dataset="rationales",
    source="tabmwp",
    total=100,
    accepted=38,
    rejected=Counter({"teacher refused": 2}),
    pending=0,
    spending=None,
)
SPENDING = Spending(
    reused=30, calls=60, prompt_tokens=4000, cached_tokens=1000, completion_tokens=500, spent_usd=0.0125
)


def test_every_record_is_kept_lost_or_waits() -> None:
    seen: list[Progress] = []
    spent = Spending(calls=1)
    tally = Tally("rationales", "tabmwp", 5, seen.append, lambda: spent)
    tally.add(
        Part(name="part-00000-key", rows=1, rejected=Counter({"teacher refused": 1}), census=Counter(), sha256="0")
    )
    for result in ("a record", LOST, Pending.REPLY):
        tally.count(result)
    assert [(each.accepted, each.rejected.total(), each.pending, each.done) for each in seen] == [
        (1, 1, 0, 2),
        (2, 1, 0, 3),
        (2, 2, 0, 4),
        (2, 2, 1, 4),
    ]
    assert tally.pending == 1
    assert {each.spending for each in seen} == {spent}


def rates(*looks: tuple[float, Spending]) -> Rates:
    made = Rates(_begun_at=0.0, _begun_done=0)
    for now, spending in looks:
        made.look(now, spending)
    return made


def test_a_line_tells_how_much_is_done_and_lost() -> None:
    assert line(PROGRESS, rates(), 60.0) == (
        "rationales of tabmwp: 40 of 100 done, rejected: 2 teacher refused; 2 min left"
    )


def test_a_line_tells_what_waits_and_what_the_teacher_did_and_cost() -> None:
    progress = Progress(**{**vars(PROGRESS), "pending": 7, "spending": SPENDING})
    told = line(progress, rates((0.0, Spending()), (10.0, SPENDING)), 60.0)
    assert "waiting for a batch: 7; teacher: 60 calls paid, 30 from the ledger" in told
    assert "6.0 calls/s, 450 tokens/s, 25% of prompts cached, $0.0125 spent" in told
    assert "retries" not in told


def test_a_teacher_without_a_price_says_so() -> None:
    progress = Progress(**{**vars(PROGRESS), "spending": Spending(calls=1, retries=3)})
    told = line(progress, rates(), 60.0)
    assert "3 retries" in told
    assert "price not known" in told


def test_rates_are_those_of_the_last_half_minute() -> None:
    looks = [(float(second), Spending(calls=second * 2 if second < 100 else 200 + second)) for second in range(200)]
    calls, _ = rates(*looks).per_second()
    assert calls == pytest.approx(1.0)


def test_nobody_can_tell_the_time_that_is_left_before_something_is_done() -> None:
    made = Rates(_begun_at=0.0, _begun_done=40)
    assert made.left_s(10.0, 40, 100) is None
    assert made.left_s(10.0, 50, None) is None
    assert made.left_s(10.0, 50, 100) == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (45.0, "45 s"), (89.0, "89 s"), (720.0, "12 min"), (11_100.0, "3 h 05 min")]
)
def test_a_time_reads_as_a_person_says_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text
