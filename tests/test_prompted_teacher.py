"""The prompted teacher asks step by step, judges, and asks once more where a reply cannot be used."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import get_args

import pytest

from mmat_dagster import prompts
from mmat_dagster.interfaces import (
    ChatReply,
    ChatTurn,
    Finding,
    Reply,
    ReplyPending,
    ReplySchema,
    RowError,
    TeacherUnavailable,
)
from mmat_dagster.schema import DatasetName, Observation, Rejection, Turn
from mmat_dagster.spending import Spending
from mmat_dagster.teachers import prompted, replies, requests
from mmat_dagster.teachers.prompted import PromptedTeacher
from tests.builders import SAMPLE
from tests.dialogues import LOOK, OFFERED, PICTURES, SAID, TRANSCRIPT, TURNS, final_reply, step_reply
from tests.fakes import ScriptedChatModel

REFUSED = RowError(reason="teacher refused", detail="policy")
CUT = ChatReply(text=SAID[:30], prompt_tokens=1, completion_tokens=64, is_cut=True)


class UnavailableChatModel(ScriptedChatModel):
    """Cannot be asked, for the reason that it is given."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason
        self.opened: list[str] = []

    @asynccontextmanager
    async def session(self, label: str) -> AsyncIterator[None]:
        self.opened.append(label)
        yield

    async def complete(
        self, messages: Sequence[ChatTurn], schema: ReplySchema | None = None, sample_number: int = 0
    ) -> ChatReply | RowError:
        raise self.reason


def make_teacher(*said: str | ChatReply | RowError) -> tuple[PromptedTeacher, ScriptedChatModel]:
    model = ScriptedChatModel(*said, spending=Spending(calls=3))
    return PromptedTeacher(model=model, pictures=PICTURES, max_turns=6), model


def repaired(teacher: PromptedTeacher) -> int:
    assert teacher.spending is not None
    return teacher.spending.repaired


async def test_a_step_is_asked_for_with_its_schema_and_returned_next_to_the_raw_reply() -> None:
    teacher, model = make_teacher(SAID)
    assert await teacher.next_step(SAMPLE, TURNS[:1], OFFERED) == Reply(step=LOOK, raw_reply=SAID)
    assert model.received == [requests.render_next_step(SAMPLE, TURNS[:1], OFFERED, PICTURES, 6)]
    assert model.schemas == [replies.STEP]


@pytest.mark.parametrize("text", ["two\nlines", "a <SIGNAL> inside"])
async def test_an_observation_without_a_wire_form_rejects_the_sample_unasked(text: str) -> None:
    teacher, model = make_teacher()
    turn = Turn(step=LOOK, observations=(Observation(tool="ocr", text=text),))
    rejection = await teacher.next_step(SAMPLE, [turn], OFFERED)
    assert isinstance(rejection, Rejection)
    assert (rejection.stage, rejection.reason) == ("rationales", "wire form broken")
    assert model.received == []


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("no JSON", "Invalid JSON: "),
        ('{"surprise": 1}', "thought: Field required"),
        (step_reply(operators=["web_browser"]), "the step calls web_browser"),
        (final_reply(operators=["ocr"]), "a final step that calls a tool"),
        (step_reply(thought="So <ANSWER>2</ANSWER>."), "the thought holds the mark <ANSWER>"),
        (CUT, "cut at 64 tokens"),
        ("", "an empty reply"),
    ],
)
async def test_a_reply_that_cannot_be_used_is_told_its_fault_and_asked_for_once_more(
    bad: str | ChatReply, fault: str
) -> None:
    teacher, model = make_teacher(bad, SAID)
    assert await teacher.next_step(SAMPLE, [], OFFERED) == Reply(step=LOOK, raw_reply=SAID)
    first, again = model.received
    said = bad if isinstance(bad, str) else bad.text
    assert again[: len(first)] == first
    assert [message.role for message in again[len(first) :]] == (["assistant", "user"] if said else ["user"])
    assert [message.text for message in again[len(first) : -1]] == ([said] if said else [])
    assert fault in again[-1].text
    assert model.schemas == [replies.STEP, replies.STEP]
    assert repaired(teacher) == 1


@pytest.mark.parametrize(
    ("said", "reason", "detail"),
    [
        (["no JSON", "still none"], "malformed teacher reply", "; the reply begins: still none"),
        (["no JSON", step_reply(operators=["web_browser"])], "operator not offered", "the step calls web_browser"),
        ([CUT, CUT], "malformed teacher reply", "cut at 64 tokens"),
        (["", " "], "malformed teacher reply", "an empty reply"),
        (["no JSON", REFUSED], "teacher refused", "policy"),
        ([REFUSED], "teacher refused", "policy"),
    ],
)
async def test_a_second_bad_reply_or_an_error_rejects_the_sample_at_the_rationale(
    said: list[str | ChatReply | RowError], reason: str, detail: str
) -> None:
    teacher, model = make_teacher(*said)
    rejection = await teacher.next_step(SAMPLE, [], OFFERED)
    assert isinstance(rejection, Rejection)
    assert (rejection.source, rejection.record_id) == ("tabmwp", "tabmwp/1")
    assert (rejection.stage, rejection.reason) == ("rationales", reason)
    assert detail in rejection.detail
    assert model.replies == []
    assert repaired(teacher) == len(said) - 1


@pytest.mark.parametrize("verdict", ["{}", '{"reason": ""}', '{"reason": null}'])
async def test_a_sound_dialogue_is_judged_once_and_left_alone(verdict: str) -> None:
    teacher, model = make_teacher(verdict)
    assert await teacher.find_pretence(SAMPLE, TRANSCRIPT) is None
    assert model.schemas == [replies.PRETENCE]


async def test_a_pretending_dialogue_gets_its_last_thought_rewritten() -> None:
    teacher, model = make_teacher(
        '{"reason": "No price was seen."}', '{"thought": " I had no price; the tag says 2. "}'
    )
    finding = await teacher.find_pretence(SAMPLE, TRANSCRIPT)
    assert finding == Finding(reason="No price was seen.", thought="I had no price; the tag says 2.")
    assert model.received == [
        requests.render_pretence(SAMPLE, TRANSCRIPT, PICTURES),
        requests.render_rewrite(SAMPLE, TRANSCRIPT, "No price was seen.", PICTURES),
    ]
    assert model.schemas == [replies.PRETENCE, replies.REWRITE]


async def test_every_reply_of_a_reflection_may_be_repaired_once() -> None:
    teacher, model = make_teacher("[]", '{"reason": "why"}', '{"thought": " "}', '{"thought": "I look again: 2."}')
    finding = await teacher.find_pretence(SAMPLE, TRANSCRIPT)
    assert finding == Finding(reason="why", thought="I look again: 2.")
    assert [len(messages) for messages in model.received] == [2, 4, 2, 4]
    assert model.schemas == [replies.PRETENCE, replies.PRETENCE, replies.REWRITE, replies.REWRITE]
    assert repaired(teacher) == 2


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["none", "none"], "malformed teacher reply"),
        (["[]", "[]"], "malformed teacher reply"),
        (['{"reason": 3}', '{"reason": 3}'], "malformed teacher reply"),
        ([REFUSED], "teacher refused"),
        (["none", REFUSED], "teacher refused"),
        (['{"reason": "why"}', "{}", "{}"], "malformed teacher reply"),
        (['{"reason": "why"}', '{"thought": " "}', '{"thought": " "}'], "malformed teacher reply"),
        (['{"reason": "why"}', '{"thought": "<THOUGHT>"}', '{"thought": "<THOUGHT>"}'], "wire form broken"),
        (['{"reason": "why"}', REFUSED], "teacher refused"),
    ],
)
async def test_a_bad_judgement_rejects_the_sample_at_the_reflection(said: list[str | RowError], reason: str) -> None:
    teacher, model = make_teacher(*said)
    rejection = await teacher.find_pretence(SAMPLE, TRANSCRIPT)
    assert isinstance(rejection, Rejection)
    assert (rejection.stage, rejection.reason) == ("rr_dialogues", reason)
    assert model.replies == []


async def test_a_skipped_calculation_is_found_with_the_thought_that_makes_up_for_it() -> None:
    teacher, model = make_teacher('{"reason": "The sum is missing.", "thought": "I skipped 1 + 1 = 2."}')
    finding = await teacher.find_skipped_calculation(SAMPLE, TRANSCRIPT)
    assert finding == Finding(reason="The sum is missing.", thought="I skipped 1 + 1 = 2.")
    assert model.received == [requests.render_skipped_calculation(SAMPLE, TRANSCRIPT, PICTURES)]
    assert model.schemas == [replies.CALCULATION]


@pytest.mark.parametrize(
    "reply",
    ['{"reason": "Nothing is computed.", "thought": null}', '{"reason": "All there."}', '{"thought": null}', "{}"],
)
async def test_a_calculation_that_is_all_there_is_left_alone(reply: str) -> None:
    teacher, _ = make_teacher(reply)
    assert await teacher.find_skipped_calculation(SAMPLE, TRANSCRIPT) is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (['{"reason": " ", "thought": "1 + 1 = 2"}'] * 2, "malformed teacher reply"),
        (['{"reason": "x", "thought": ""}'] * 2, "malformed teacher reply"),
        ([REFUSED], "teacher refused"),
    ],
)
async def test_a_bad_check_rejects_the_sample_at_the_reflection(said: list[str | RowError], reason: str) -> None:
    teacher, _ = make_teacher(*said)
    rejection = await teacher.find_skipped_calculation(SAMPLE, TRANSCRIPT)
    assert isinstance(rejection, Rejection)
    assert (rejection.stage, rejection.reason) == ("rr_dialogues", reason)


@pytest.mark.parametrize("reason", [TeacherUnavailable("no key"), ReplyPending("in a batch")])
async def test_a_teacher_that_cannot_be_asked_now_says_so_whatever_the_question(reason: Exception) -> None:
    teacher = PromptedTeacher(model=UnavailableChatModel(reason), pictures=PICTURES, max_turns=6)
    for asked in (
        teacher.next_step(SAMPLE, [], OFFERED),
        teacher.find_pretence(SAMPLE, TRANSCRIPT),
        teacher.find_skipped_calculation(SAMPLE, TRANSCRIPT),
    ):
        with pytest.raises(type(reason), match=str(reason)):
            await asked


async def test_a_session_of_the_teacher_is_one_of_its_model() -> None:
    model = UnavailableChatModel(TeacherUnavailable("no key"))
    async with PromptedTeacher(model=model, pictures=PICTURES, max_turns=6).session("rationales of tabmwp"):
        assert model.opened == ["rationales of tabmwp"]


def test_a_model_that_counts_no_money_gives_a_teacher_that_counts_none() -> None:
    teacher = PromptedTeacher(model=ScriptedChatModel(), pictures=PICTURES, max_turns=6)
    assert teacher.spending is None
    assert make_teacher()[0].spending == replace(Spending(calls=3), repaired=0)


def test_the_version_names_the_model_the_turn_limit_and_the_prompts_of_the_dataset() -> None:
    teacher, _ = make_teacher()
    assert teacher.name == "scripted-4o"
    for dataset, names in prompted.PROMPTS.items():
        fingerprint = prompts.fingerprint(*names)
        assert teacher.version(dataset).startswith(f"scripted-4o temperature=0 max_turns=6 prompts={fingerprint} code=")
    assert teacher.version("rationales") != teacher.version("rr_dialogues")


@pytest.mark.parametrize("edited", ["rationale_system", "reflection_math", "repair", "orr_system"])
def test_an_edited_prompt_makes_a_new_version_of_the_datasets_that_use_it_alone(
    edited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, _ = make_teacher()
    datasets: tuple[DatasetName, ...] = get_args(DatasetName)
    before = {dataset: teacher.version(dataset) for dataset in datasets}
    read = prompts._read
    monkeypatch.setattr(prompts, "_read", lambda name: read(name) + (b" edited" if name == edited else b""))
    changed = {dataset for dataset in datasets if teacher.version(dataset) != before[dataset]}
    assert changed == {dataset for dataset, names in prompted.PROMPTS.items() if edited in names}
    assert (
        changed
        == {
            "rationale_system": {"rationales"},
            "reflection_math": {"rr_dialogues"},
            "repair": {"rationales", "rr_dialogues"},
            "orr_system": set(),
        }[edited]
    )


async def test_the_prompts_that_decide_a_version_are_those_that_are_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: set[str] = set()
    render = prompts.render

    def watch(name: str, **slots: str) -> str:
        rendered.add(name)
        return render(name, **slots)

    monkeypatch.setattr(prompts, "render", watch)
    teacher, _ = make_teacher("bad", SAID)
    await teacher.next_step(SAMPLE, TURNS[:1], OFFERED)
    assert rendered == set(prompted.PROMPTS["rationales"])
    rendered.clear()
    teacher, _ = make_teacher("bad", '{"reason": "why"}', '{"thought": "2"}', "{}")
    await teacher.find_pretence(SAMPLE, TRANSCRIPT)
    await teacher.find_skipped_calculation(SAMPLE, TRANSCRIPT)
    assert rendered == set(prompted.PROMPTS["rr_dialogues"])
