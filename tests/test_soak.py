"""A little soak: a provider with faults, every dialogue and every call accounted for, and nothing left open."""

from pathlib import Path

import pytest

from bench.soak import Plan, render, soak
from bench.soak_samples import Sample, by_stage, thirds

DIALOGUES, CONCURRENCY = 120, 32
# What a run opens once and keeps until its process ends, Dagster's history above all.
KEPT_OPEN = 16


@pytest.mark.alone
def test_a_soak_loses_nothing_pays_nothing_twice_and_leaves_nothing_open(tmp_path: Path) -> None:
    plan = Plan(
        dialogues=DIALOGUES,
        folder=tmp_path,
        ledger=str(tmp_path / "ledger.sqlite"),
        part_rows=40,
        concurrency=CONCURRENCY,
        operators="image_caption=off,label_bbox=off,ocr=off,face_detection=off",
        timeout_s=3.0,
        every_s=0.2,
    )
    soaked = soak(plan)
    bill, kept = soaked.bill, soaked.kept
    assert soaked.unaccounted == 0
    assert soaked.lost == bill.doubled == bill.unseen == 0
    assert (kept.replies, kept.account.calls, kept.account.lost_calls) == (bill.requests, bill.requests, 0)
    assert bill.charged == bill.requests + bill.broken_off
    assert sum(bill.faults.values()) > DIALOGUES / 10
    first, last = soaked.samples[1], soaked.samples[-1]
    assert max(sample.descriptors for sample in soaked.samples) > CONCURRENCY
    assert last.descriptors <= first.descriptors + KEPT_OPEN
    assert f"{DIALOGUES} asked for = {kept.accepted} accepted" in "\n".join(render(soaked))


def make_sample(at_s: float, rationales: int, rr_dialogues: int) -> Sample:
    return Sample(
        at_s=at_s,
        rss_mb=1.0,
        descriptors=1,
        threads=1,
        tasks=0,
        children_mb=0.0,
        rationales=rationales,
        rr_dialogues=rr_dialogues,
    )


def test_a_stage_is_looked_at_between_its_first_and_its_last_part() -> None:
    finished = [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (3, 3)]
    stages = by_stage([make_sample(float(number), *each) for number, each in enumerate(finished)])
    assert {name: [sample.at_s for sample in each] for name, each in stages.items()} == {
        "rationales": [1.0, 2.0],
        "rr_dialogues": [4.0, 5.0],
        "both": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
    assert [len(third) for third in thirds(stages["both"] + stages["rationales"])] == [2, 4, 2]
