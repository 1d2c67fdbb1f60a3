"""Rationale, reflection and integration, with a teacher that follows a script."""

import pytest

from mmat_dagster import wire
from mmat_dagster.census import facets
from mmat_dagster.interfaces import Finding
from mmat_dagster.operators.looking import FAILED
from mmat_dagster.reasoning import NOTHING_FOUND, SEARCH_FAILED, Toolbox
from mmat_dagster.schema import Observation, Rationale, Rejection, Sample, Step, Transcript, Turn
from mmat_dagster.stages.integration import integrate, integrated
from mmat_dagster.stages.rationale import write_rationale
from mmat_dagster.stages.reflection import REMARKS, is_mathematical, reflect
from mmat_dagster.tools import Operator, Passage
from tests.builders import SAMPLE, make_sample
from tests.fakes import BrokenOperator, BrokenRetriever, ScriptedTeacher, ToldOperator, ToldRetriever
from tests.looking import Folder

LOOK = Step(thought="I read the table.", operators=("ocr",), signal="continue")
END = Step(thought="The sand is $2.", signal="end")
READ = Observation(tool="ocr", text="sand | $2")


def tools(operator: Operator | None = None, retriever: ToldRetriever | None = None) -> Toolbox:
    operators = {"ocr": operator or ToldOperator("sand | $2")}
    return Toolbox(operators=operators, retriever=retriever or ToldRetriever())


def rationale(*turns: Turn, sample: Sample = SAMPLE) -> Rationale:
    turns = turns or (Turn(step=LOOK, observations=(READ,), raw_reply="{}"), Turn(step=END))
    return Rationale(sample=sample, turns=turns, teacher="scripted")


async def test_a_rationale_ends_with_the_step_that_says_so() -> None:
    teacher = ScriptedTeacher(LOOK, END)
    written = await write_rationale(SAMPLE, teacher, tools(), Folder())
    assert isinstance(written, Rationale)
    assert [turn.step for turn in written.turns] == [LOOK, END]
    assert written.turns[0].observations == (READ,)
    assert written.turns[0].raw_reply == "raw: I read the table."
    assert teacher.heard == [(), written.turns[:1]]


async def test_passages_stand_behind_the_operators_results() -> None:
    found = ToldRetriever(
        Passage(id="1", title="Sand", text="It is cheap."), Passage(id="2", title="Price", text="Low.")
    )
    both = Step(thought="Read and search.", operators=("ocr",), rag_query="price of sand", signal="continue")
    written = await write_rationale(SAMPLE, ScriptedTeacher(both, END), tools(retriever=found), Folder())
    assert isinstance(written, Rationale)
    assert [item.text for item in written.turns[0].observations] == ["sand | $2", "Sand: It is cheap.", "Price: Low."]
    assert found.queries == ["price of sand"]


async def test_a_search_that_finds_nothing_says_so() -> None:
    search = Step(thought="Search.", rag_query="price of sand", signal="continue")
    written = await write_rationale(SAMPLE, ScriptedTeacher(search, END), tools(), Folder())
    assert isinstance(written, Rationale)
    assert written.turns[0].observations == (Observation(tool="rag", text=NOTHING_FOUND),)


async def test_a_search_that_fails_is_told_and_counted_and_the_teacher_goes_on() -> None:
    search = Step(thought="Search.", rag_query="price of sand", signal="continue")
    written = await write_rationale(SAMPLE, ScriptedTeacher(search, END), tools(retriever=BrokenRetriever()), Folder())
    assert isinstance(written, Rationale)
    assert written.turns[0].observations == (Observation(tool="rag", text=SEARCH_FAILED),)
    assert sorted(facets(written)) == ["2 turns", "rag called", "rag failed"]


async def test_a_search_is_told_the_question_that_it_is_for() -> None:
    search = Step(thought="Search.", rag_query="price of sand", signal="continue")
    found = ToldRetriever()
    await write_rationale(SAMPLE, ScriptedTeacher(search, END), tools(retriever=found), Folder())
    assert (found.queries, found.questions) == (["price of sand"], ["How much is the sand?"])


async def test_a_failed_operator_is_told_and_the_teacher_goes_on() -> None:
    written = await write_rationale(SAMPLE, ScriptedTeacher(LOOK, END), tools(BrokenOperator()), Folder())
    assert isinstance(written, Rationale)
    assert written.turns[0].observations == (Observation(tool="ocr", text=FAILED),)


async def test_a_rejection_of_the_teacher_is_the_samples() -> None:
    lost = Rejection(
        source="tabmwp", record_id="tabmwp/1", stage="rationales", reason="teacher refused", detail="no comment"
    )
    assert await write_rationale(SAMPLE, ScriptedTeacher(LOOK, lost), tools(), Folder()) == lost


async def test_an_operator_that_was_not_offered_rejects_the_sample() -> None:
    step = Step(thought="Faces?", operators=("face_detection",), signal="continue")
    lost = await write_rationale(SAMPLE, ScriptedTeacher(step), tools(), Folder())
    assert isinstance(lost, Rejection)
    assert (lost.reason, lost.detail) == ("operator not offered", "step 1 calls face_detection")


async def test_reasoning_without_an_end_stops_at_the_turn_limit() -> None:
    going_on = [Step(thought=f"Thought {number}", signal="continue") for number in range(3)]
    lost = await write_rationale(SAMPLE, ScriptedTeacher(*going_on), tools(), Folder(), max_turns=3)
    assert isinstance(lost, Rejection)
    assert lost.reason == "turn limit reached"


async def test_sound_reasoning_stays_as_it_is() -> None:
    teacher = ScriptedTeacher()
    dialogue = await reflect(rationale(), teacher, "system", 6)
    assert not isinstance(dialogue, Rejection)
    assert dialogue.reflection == "none"
    assert dialogue.transcript.turns == rationale().turns
    assert dialogue.messages == wire.render_rr(dialogue.transcript, "system")
    assert dialogue.transcript.answer == "2"
    assert teacher.judged == ["pretence", "skipped calculation"]


async def test_pretence_is_rewritten_behind_a_reflection_turn() -> None:
    teacher = ScriptedTeacher(pretence=Finding(reason="never read", thought="The table says $2, so it is $2."))
    dialogue = await reflect(rationale(), teacher, "system", 6)
    assert not isinstance(dialogue, Rejection)
    assert [turn.step.signal for turn in dialogue.transcript.turns] == ["continue", "reflection", "end"]
    assert [turn.step.thought for turn in dialogue.transcript.turns] == [
        LOOK.thought,
        REMARKS["general"],
        "The table says $2, so it is $2.",
    ]
    assert (dialogue.reflection, dialogue.reflection_reason) == ("general", "never read")
    assert teacher.judged == ["pretence"]


async def test_a_lone_thought_stays_before_its_reflection() -> None:
    teacher = ScriptedTeacher(pretence=Finding(reason="never read", thought="I see $2 in the table."))
    dialogue = await reflect(rationale(Turn(step=END)), teacher, "system", 6)
    assert not isinstance(dialogue, Rejection)
    assert [turn.step.thought for turn in dialogue.transcript.turns] == [
        END.thought,
        REMARKS["general"],
        "I see $2 in the table.",
    ]


async def test_a_skipped_calculation_follows_a_reflection_turn() -> None:
    teacher = ScriptedTeacher(skipped=Finding(reason="no product", thought="$2 × 1 = $2"))
    dialogue = await reflect(rationale(), teacher, "system", 6)
    assert not isinstance(dialogue, Rejection)
    assert [turn.step.signal for turn in dialogue.transcript.turns] == ["continue", "continue", "reflection", "end"]
    assert dialogue.transcript.turns[1].step.thought == END.thought
    assert dialogue.transcript.turns[3].step.thought == "$2 × 1 = $2"
    assert dialogue.reflection == "math"
    assert wire.parse_rr(dialogue.messages).turns[3].step.thought == "$2 × 1 = $2"


async def test_only_mathematical_dialogues_are_asked_for_calculations() -> None:
    sample = make_sample(bare_question="What animal is it?", answer_type="word_or_phrase", answers=("cat",))
    teacher = ScriptedTeacher()
    await reflect(rationale(Turn(step=Step(thought="A cat.", signal="end")), sample=sample), teacher, "system", 6)
    assert teacher.judged == ["pretence"]


async def test_a_reflection_past_the_turn_limit_rejects_the_dialogue() -> None:
    turns = tuple(Turn(step=Step(thought=f"Thought {number}", signal="continue")) for number in range(5))
    teacher = ScriptedTeacher(skipped=Finding(reason="no product", thought="$2 × 1 = $2"))
    lost = await reflect(rationale(*turns, Turn(step=END)), teacher, "system", 6)
    assert isinstance(lost, Rejection)
    assert (lost.stage, lost.reason) == ("rr_dialogues", "turn limit reached")


async def test_a_dialogue_that_breaks_the_wire_form_is_rejected() -> None:
    lost = await reflect(rationale(Turn(step=Step(thought="<SIGNAL>", signal="end"))), ScriptedTeacher(), "system", 6)
    assert isinstance(lost, Rejection)
    assert (lost.reason, lost.detail) == ("wire form broken", "the thought holds the mark <SIGNAL>")


@pytest.mark.parametrize(
    ("question", "thought", "is_math"),
    [
        ("What is the mean?", "It is shown.", True),
        ("Which one?", "12 - 3 = 9, so the first.", True),
        ("How many are red?", "Some.", True),
        ("Who wrote it?", "The author of 1984.", False),
    ],
)
def test_mathematical_dialogues_are_told_by_their_words(question: str, thought: str, is_math: bool) -> None:
    sample = make_sample(bare_question=question, answer_type="word_or_phrase")
    turns = (Turn(step=Step(thought=thought, signal="end")),)
    transcript = Transcript(question=question, image_count=1, turns=turns, answer="x")
    assert is_mathematical(sample, transcript) is is_math


async def test_an_orr_dialogue_holds_every_thought_and_every_operator_result() -> None:
    step = Step(thought="Read and search.", operators=("ocr",), rag_query="sand", signal="continue")
    results = (READ, Observation(tool="rag", text="Sand: cheap."))
    teacher = ScriptedTeacher(pretence=Finding(reason="never read", thought="It is $2."))
    dialogue = await reflect(rationale(Turn(step=step, observations=results), Turn(step=END)), teacher, "system", 6)
    assert not isinstance(dialogue, Rejection)
    folded = integrated(dialogue.transcript)
    assert folded.thought.split("\n") == ["Read and search.", REMARKS["general"], "It is $2."]
    assert folded.calls == (READ,)
    orr = integrate(dialogue, "orr system")
    assert not isinstance(orr, Rejection)
    assert wire.parse_orr(orr.messages) == folded
