"""The audit loses no dialogue: scored by checks or by a judge, paid once, a stable sample, and readable."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster import parts
from mmat_dagster.audit import SELF_EVIDENT
from mmat_dagster.interfaces import ChatReply, Judge, Judgement, ReplyPending, RowError
from mmat_dagster.judges.prompted import JUDGEMENT, PromptedJudge, parse_judgement, render_judgement
from mmat_dagster.pipeline import Pipeline, RepliesPending
from mmat_dagster.reading import ASPECTS, to_markdown, to_text
from mmat_dagster.schema import AuditFinding, Dialogue, DialogueAudit
from mmat_dagster.spending import Spending
from mmat_dagster.stages.audit import audit, last_rank, rank, score_by_checks
from tests.audits import make_dialogue, saying
from tests.builders import make_sample
from tests.chat_server import Body, ChatServer
from tests.dialogues import PICTURES
from tests.fakes import ScriptedChatModel
from tests.layouts import write_tabmwp
from tests.teaching import Job, make_model
from tests.test_pipeline import build, files, pipeline

ALL_ASPECTS = dict.fromkeys(ASPECTS, 0.9)
REFUSED = RowError(reason="teacher refused", detail="policy")


def judgement(**changes: Any) -> str:
    """Return a judge's reply, with `changes`."""
    return json.dumps({"reason": "Sound in every step.", **ALL_ASPECTS, "score": 0.95, **changes})


def make_judge(*said: str | ChatReply | RowError) -> tuple[PromptedJudge, ScriptedChatModel]:
    model = ScriptedChatModel(*said, spending=Spending(calls=2))
    return PromptedJudge(model=model, pictures=PICTURES), model


class PatientJudge(Judge):
    """Judges every dialogue alike, but those whose reply is still in a batch; keeps what it was asked."""

    def __init__(self, *pending: str) -> None:
        self.pending = set(pending)
        self.asked: list[str] = []
        self.sessions: list[str] = []

    @property
    def name(self) -> str:
        return "patient"

    @property
    def version(self) -> str:
        return "patient 1"

    @asynccontextmanager
    async def session(self, label: str) -> AsyncIterator[None]:
        self.sessions.append(label)
        yield

    async def judge(self, dialogue: Dialogue) -> Judgement | RowError:
        self.asked.append(dialogue.id)
        if dialogue.id in self.pending:
            raise ReplyPending
        return Judgement(**ALL_ASPECTS, score=0.8, reason="Fine.", raw_reply="{}")


async def test_a_sound_dialogue_has_the_full_score_and_says_so() -> None:
    audited = await audit(make_dialogue(), None)
    assert (audited.id, audited.source) == ("tabmwp/1", "tabmwp")
    assert (audited.score, audited.judge, audited.findings) == (1.0, "checks", ())
    assert audited.reason == "Every check holds."
    assert [getattr(audited, aspect) for aspect in ASPECTS] == [None] * 5
    assert audited.raw_reply is None


async def test_what_does_not_hold_lowers_the_score_and_is_told() -> None:
    audited = await audit(saying(make_dialogue(), -1, lambda text: "9"), None)
    assert audited.score == 0.0
    assert {finding.check for finding in audited.findings} == {"wire_form_round_trips", "answers_are_gold"}
    assert "answers are gold: the answer is '9', gold is '2'" in audited.reason


@given(st.lists(st.sampled_from([*(check.name for check in SELF_EVIDENT), "judge_replied"])))
def test_a_score_falls_with_every_check_that_fails_and_counts_each_once(names: list[str]) -> None:
    score = score_by_checks([AuditFinding(check=name, detail="x") for name in names])
    failed = {*names} - {"judge_replied"}
    assert score == score_by_checks([AuditFinding(check=name, detail="y") for name in failed])
    assert (score == 1.0) == (not failed)
    assert 0.0 <= score < 0.7 or not failed


async def test_a_judge_is_shown_images_question_gold_and_dialogue_and_its_words_are_kept() -> None:
    judge, model = make_judge(judgement(accuracy=0.5, score=0.6))
    audited = await audit(make_dialogue(), judge)
    assert (audited.score, audited.judge, audited.accuracy, audited.coherence) == (0.6, "scripted-4o", 0.5, 0.9)
    assert audited.reason == "Sound in every step."
    assert audited.raw_reply == judgement(accuracy=0.5, score=0.6)
    system, asked = model.received[0]
    assert "You judge finished dialogues" in system.text
    assert len(asked.images) == 1
    for shown in (
        "How much is the sand?",
        "Called: ocr",
        "sand | $2",
        "<final_answer>\n2\n",
        "<accepted_answers>\n2\n",
    ):
        assert shown in asked.text
    assert model.schemas == [JUDGEMENT]


def test_a_range_of_accepted_numbers_is_told_to_the_judge() -> None:
    sample = make_sample(answers=("5",), number_range=(4.5, 5.5))
    _, asked = render_judgement(make_dialogue(answer="5", sample=sample), PICTURES)
    assert "any number from 4.5 to 5.5, such as 5" in asked.text


async def test_a_check_that_fails_lowers_what_the_judge_gave() -> None:
    judge, _ = make_judge(judgement())
    audited = await audit(saying(make_dialogue(), -1, lambda text: "9"), judge)
    assert (audited.score, audited.coherence) == (0.0, 0.9)
    assert audited.reason.startswith("Sound in every step. Lowered from 0.95: Does not hold: ")
    stern, _ = make_judge(judgement(score=0.0))
    assert (await audit(saying(make_dialogue(), -1, lambda text: "9"), stern)).reason == "Sound in every step."


BAD = [
    ("no JSON", "Invalid JSON"),
    (judgement(score=7), "score: not between 0.0 and 1.0"),
    (judgement(coherence=-0.1, relevance=1.1), "coherence, relevance: not between 0.0 and 1.0"),
    (judgement(reason="  "), "an empty reason"),
    (judgement(score="0.9"), "score"),
    (json.dumps({"reason": "x", "score": 1.0}), "coherence: Field required"),
    (judgement(score=float("nan")), "score"),
]


@pytest.mark.parametrize(("text", "fault"), BAD)
async def test_a_reply_that_cannot_be_used_is_told_its_fault_and_asked_for_once_more(text: str, fault: str) -> None:
    judge, model = make_judge(text, judgement())
    audited = await audit(make_dialogue(), judge)
    assert (audited.judge, audited.score) == ("scripted-4o", 0.95)
    assert fault in model.received[1][-1].text
    assert judge.spending == Spending(calls=2, repaired=1)


@pytest.mark.parametrize("said", [("no JSON", "no JSON either"), (REFUSED,)])
async def test_a_judge_without_a_usable_reply_costs_no_dialogue(said: tuple[str | RowError, ...]) -> None:
    judge, _ = make_judge(*said)
    audited = await audit(make_dialogue(), judge)
    assert (audited.judge, audited.score, audited.coherence) == ("checks", 1.0, None)
    (finding,) = audited.findings
    assert finding.check == "judge_replied"
    assert finding.detail.startswith("scripted-4o: ")
    assert audited.reason.startswith("Every check holds; judge replied: scripted-4o: ")


@given(st.text())
def test_no_reply_breaks_the_reading_of_judgements(text: str) -> None:
    assert isinstance(parse_judgement(text), RowError)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tabmwp(tmp_path / "sources", 5)
    return tmp_path


def audits(work: Pipeline) -> list[DialogueAudit]:
    manifest = parts.read_manifest(work.store, "dialogue_audit", "tabmwp")
    assert manifest is not None
    return list(parts.read_records(work.store, manifest, DialogueAudit))


def judged_by(judge: Judge | None, folder: Path, sample: int | None = None) -> Pipeline:
    work = pipeline(folder)
    return replace(work, judge=judge, settings=replace(work.settings, audit_sample=sample))


def test_every_dialogue_has_its_audit_in_order(folder: Path) -> None:
    work = pipeline(folder)
    built = build(work, "dialogue_audit")
    assert [each.manifest.dataset for each in built] == ["source_qa", "rationales", "rr_dialogues", "dialogue_audit"]
    assert [each.id for each in audits(work)] == [f"tabmwp/{at}" for at in range(1, 6)]
    assert {each.score for each in audits(work)} == {1.0}
    assert built[-1].manifest.census == {"judged by checks": 5, "score 0.9": 5}
    assert (len(built[-1].manifest.parts), built[-1].manifest.rejected.total()) == (3, 0)


def test_who_wants_orr_dialogues_builds_no_audit(folder: Path) -> None:
    work = pipeline(folder)
    build(work, "orr_dialogues")
    assert parts.read_manifest(work.store, "dialogue_audit", "tabmwp") is None


def test_a_second_audit_asks_nothing_and_changes_no_file(folder: Path) -> None:
    judge = PatientJudge()
    build(judged_by(judge, folder), "dialogue_audit")
    before = files(folder)
    again = PatientJudge()
    assert build(judged_by(again, folder), "dialogue_audit")[-1].reused_parts == 3
    assert (len(judge.asked), again.asked, files(folder)) == (5, [], before)
    assert judge.sessions == ["dialogue_audit of tabmwp"]


def test_another_judge_or_sample_makes_another_audit_and_leaves_the_dialogues_alone(folder: Path) -> None:
    build(judged_by(None, folder), "dialogue_audit")
    judge = PatientJudge()
    *below, audited = build(judged_by(judge, folder), "dialogue_audit")
    assert [each.reused_parts for each in below] == [3, 3, 3]
    assert (audited.reused_parts, len(judge.asked)) == (0, 5)
    assert build(judged_by(PatientJudge(), folder, 2), "dialogue_audit")[-1].reused_parts == 0
    # Without a judge there is nothing to sample.
    assert judged_by(None, folder, 2)._stage("dialogue_audit", "tabmwp").key == (
        judged_by(None, folder)._stage("dialogue_audit", "tabmwp").key
    )


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_a_sample_is_so_many_dialogues_and_the_same_in_every_run(folder: Path, tmp_path: Path, count: int) -> None:
    judge = PatientJudge()
    work = judged_by(judge, folder, count)
    build(work, "dialogue_audit")
    ids = [f"tabmwp/{at}" for at in range(1, 6)]
    assert judge.asked == [each for each in ids if each in sorted(ids, key=rank)[:count]]
    assert [each.judge for each in audits(work)] == ["patient" if each in judge.asked else "checks" for each in ids]
    assert len(audits(work)) == 5


@given(st.sets(st.text(), min_size=1), st.integers(min_value=1, max_value=20))
def test_a_sample_stays_when_more_dialogues_come_but_for_those_they_displace(ids: set[str], count: int) -> None:
    chosen = {each for each in ids if rank(each) <= last_rank(ids, count)}
    assert len(chosen) == min(count, len(ids))
    more = ids | {"another one"}
    assert {each for each in more if rank(each) <= last_rank(more, count)} - {"another one"} <= chosen


def test_an_audit_whose_replies_come_with_a_batch_goes_on_later(folder: Path) -> None:
    judge = PatientJudge("tabmwp/3")
    with pytest.raises(RepliesPending, match="1 records of dialogue_audit of tabmwp"):
        build(judged_by(judge, folder), "dialogue_audit")
    later = PatientJudge()
    built = build(judged_by(later, folder), "dialogue_audit")[-1]
    assert (later.asked, built.reused_parts) == (["tabmwp/3", "tabmwp/4"], 2)


def judging(body: Body) -> str:
    """Play a judge who gives everything the same."""
    assert "You judge finished dialogues" in str(body["messages"][0]["content"])
    return judgement()


def asking(server: ChatServer, folder: Path, **fields: object) -> Pipeline:
    job = Job(
        sources=str(folder / "sources"),
        store=str(folder / "store"),
        url=server.url,
        ledger=str(folder / "ledger.sqlite"),
        fields=dict(fields),
    )
    work = pipeline(folder)
    return replace(work, judge=PromptedJudge(model=make_model(job), pictures=work.pictures))


def test_a_second_audit_by_a_model_is_free_by_the_ledger(chat_server: ChatServer, folder: Path) -> None:
    chat_server.script = judging
    work = asking(chat_server, folder)
    build(work, "dialogue_audit")
    assert len(chat_server.received) == 5
    assert {(each.judge, each.score) for each in audits(work)} == {("scripted", 0.95)}
    for path in (folder / "store" / "dialogue_audit" / "tabmwp").iterdir():
        if path.is_file():
            path.unlink()
    again = asking(chat_server, folder)
    build(again, "dialogue_audit")
    assert len(chat_server.received) == 5
    spent = again.spendings["judge"]
    assert (spent.calls, spent.reused) == (0, 5)


def test_an_audit_is_readable_as_text_and_markdown_and_escaped() -> None:
    audited = asyncio.run(audit(make_dialogue(), make_judge(judgement(reason="<script>x</script>"))[0]))
    shown = to_text(replace(audited, findings=(AuditFinding(check="a", detail="b"),)), 80, is_coloured=False)
    assert shown.splitlines()[0] == "tabmwp/1 · score 0.95 · judge: scripted-4o"
    assert "coherence 0.90, relevance 0.90" in shown
    assert "  does not hold  a: b" in shown
    assert "<script>" not in to_markdown(audited)
    assert "aspects" not in to_text(asyncio.run(audit(make_dialogue(), None)), 80, is_coloured=False)
