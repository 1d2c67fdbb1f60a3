"""A student answers directly, at once, or as an agent; what it does wrong is named, its answer judged all the same."""

from dataclasses import replace
from pathlib import Path

from mmat_dagster import wire
from mmat_dagster.evaluation.answering import Allowed, Manner, Said, answer
from mmat_dagster.evaluation.questions import Question
from mmat_dagster.interfaces import ChatReply, RowError
from mmat_dagster.reasoning import SEARCH_FAILED, Toolbox
from tests.examined import AGENT, make_question, make_tools
from tests.fakes import BrokenOperator, BrokenRetriever, ScriptedChatModel, ToldOperator

LOOK = "<THOUGHT>I need the price.</THOUGHT><OPERATOR>ocr</OPERATOR><SIGNAL>continue</SIGNAL>"
SEARCH = "<THOUGHT>How is it sold?</THOUGHT><RAG>sand sold by</RAG><SIGNAL>continue</SIGNAL>"
THINK = "<THOUGHT>Two dollars, then.</THOUGHT><SIGNAL>continue</SIGNAL>"
REFLECT = "<THOUGHT>I was too quick.</THOUGHT><SIGNAL>reflection</SIGNAL>"
END = "<THOUGHT>It costs $2.</THOUGHT><SIGNAL>end</SIGNAL>"
ASKED = "How much is the sand? Answer with a number."


async def told(
    question: Question, model: ScriptedChatModel, manner: Manner = AGENT, tools: Toolbox | None = None
) -> Said:
    return await answer(question, model, tools or make_tools(), manner)


async def test_an_agent_calls_reads_ends_and_gives_the_bare_answer(tmp_path: Path) -> None:
    model = ScriptedChatModel(LOOK, SEARCH, END, " 2 ")
    said = await told(make_question(tmp_path), model)
    assert (said.response, said.failure, said.turns) == ("2", None, 4)
    assert said.calls == ("ocr", "rag")
    transcript = wire.parse_rr(said.messages)
    assert [turn.observations[0].text for turn in transcript.turns[:2]] == ["sand $2", "Sand: Sand is sold by the ton."]
    assert said.messages[-2].content == wire.SUMMARISE + ASKED


async def test_the_transcript_is_in_the_form_of_the_dialogues_that_it_learned_from(tmp_path: Path) -> None:
    model = ScriptedChatModel(LOOK, REFLECT, END, "2")
    said = await told(make_question(tmp_path), model)
    transcript = wire.parse_rr(said.messages)
    assert wire.render_rr(transcript, said.messages[0].content) == said.messages
    assert "ocr: reads" in said.messages[0].content


async def test_images_go_to_the_model_with_the_first_user_turn_only(tmp_path: Path) -> None:
    model = ScriptedChatModel(LOOK, END, "2")
    question = make_question(tmp_path)
    await told(question, model)
    assert [[len(turn.images) for turn in turns] for turns in model.received] == [
        [0, 1],
        [0, 1, 0, 0],
        [0, 1, 0, 0, 0, 0],
    ]
    assert model.received[0][1].text == f"{ASKED}{wire.START}"


async def test_a_malformed_turn_is_reminded_of_once_and_then_mended(tmp_path: Path) -> None:
    model = ScriptedChatModel("The price is 2.", LOOK, END, "2")
    said = await told(make_question(tmp_path), model)
    assert (said.response, said.failure, said.reminders) == ("2", None, 1)
    assert "not a step" in model.received[1][-1].text
    assert all("The price is 2." not in message.content for message in said.messages)


async def test_a_turn_that_stays_malformed_ends_the_reasoning_and_the_answer_is_asked_for(tmp_path: Path) -> None:
    model = ScriptedChatModel(LOOK, "Two.", "Two!", "2")
    said = await told(make_question(tmp_path), model)
    assert (said.response, said.failure, said.reminders) == ("2", "malformed turn", 2)
    assert said.detail is not None
    assert said.detail.startswith("step 2: not a step")
    assert [message.content for message in said.messages[-5:-2:2]] == ["Two.", "Two!"]
    assert said.messages[-2].content == wire.SUMMARISE + ASKED


async def test_an_agent_that_never_ends_is_asked_for_its_answer_at_the_turn_limit(tmp_path: Path) -> None:
    model = ScriptedChatModel(THINK, LOOK, "2")
    said = await told(make_question(tmp_path), model, replace(AGENT, max_turns=2))
    assert (said.response, said.failure) == ("2", "turn limit reached")
    results = said.messages[-2].content
    assert results.startswith("Here are ocr results from the previous step:\n-ocr information: sand $2\n")
    assert results.endswith(wire.SUMMARISE + ASKED)


async def test_an_operator_that_is_not_there_is_named_in_the_reminder(tmp_path: Path) -> None:
    model = ScriptedChatModel(LOOK.replace("ocr", "x_ray"), END, "2")
    said = await told(make_question(tmp_path), model)
    assert said.reminders == 1
    assert "it calls x_ray, which is not offered" in model.received[1][-1].text


async def test_an_operator_that_the_student_never_saw_can_be_offered(tmp_path: Path) -> None:
    class Scales(ToldOperator):
        name = "weigh"
        purpose = "weighs"

    model = ScriptedChatModel(LOOK.replace("ocr", "weigh"), END, "2")
    said = await told(make_question(tmp_path), model, tools=make_tools(Scales("2 kg")))
    assert said.calls == ("weigh",)
    assert "weigh: weighs" in said.messages[0].content


async def test_calls_with_the_end_and_the_same_call_twice_are_malformed(tmp_path: Path) -> None:
    twice = LOOK.replace("ocr<", "ocr, ocr<")
    model = ScriptedChatModel(twice, LOOK.replace("continue", "end"), "2")
    said = await told(make_question(tmp_path), model)
    assert said.failure == "malformed turn"
    assert "twice" in model.received[1][-1].text
    assert said.detail == "step 1: it calls ocr with the signal end"


async def test_a_tool_that_fails_is_told_as_in_the_data(tmp_path: Path) -> None:
    model = ScriptedChatModel(LOOK, SEARCH, END, "2")
    tools = Toolbox(operators={"ocr": BrokenOperator()}, retriever=BrokenRetriever())
    said = await told(make_question(tmp_path), model, tools=tools)
    assert said.failure is None
    assert "failed and returned nothing" in said.messages[3].content
    assert SEARCH_FAILED in said.messages[5].content


async def test_what_an_ablation_forbids_is_taken_out_of_the_step(tmp_path: Path) -> None:
    model = ScriptedChatModel(LOOK, SEARCH, REFLECT, END, "2")
    manner = replace(AGENT, allowed=Allowed(operators=False, rag=False, reflection=False))
    said = await told(make_question(tmp_path), model, manner)
    assert (said.calls, said.failure) == ((), None)
    steps = [turn.step for turn in wire.parse_rr(said.messages).turns]
    assert [(step.operators, step.rag_query, step.signal) for step in steps] == [((), None, "continue")] * 3 + [
        ((), None, "end")
    ]
    assert "ocr: reads" not in said.messages[0].content


async def test_an_orr_student_gets_operator_results_in_its_prompt(tmp_path: Path) -> None:
    model = ScriptedChatModel("<THOUGHT>It says $2.</THOUGHT><ANSWER>The answer is: 2</ANSWER>")
    said = await told(make_question(tmp_path), model, Manner(form="orr", shown=("ocr",)))
    assert (said.response, said.failure, said.calls) == ("2", None, ("ocr",))
    assert wire.parse_orr(said.messages).calls[0].text == "sand $2"
    assert len(model.received[0][1].images) == 1


async def test_an_orr_reply_out_of_form_is_counted_and_what_stands_for_an_answer_judged(tmp_path: Path) -> None:
    model = ScriptedChatModel("It is cheap. The answer is: 2</ANSWER>")
    said = await told(make_question(tmp_path), model, Manner(form="orr"))
    assert (said.response, said.failure) == ("2", "malformed reply")


async def test_a_student_asked_directly_has_no_system_prompt(tmp_path: Path) -> None:
    model = ScriptedChatModel("2 dollars")
    said = await told(make_question(tmp_path), model, Manner(form="direct"))
    assert [message.role for message in said.messages] == ["user", "assistant"]
    assert (said.response, said.prompt_tokens, said.completion_tokens) == ("2 dollars", 1, 1)


async def test_a_reply_that_was_cut_is_named(tmp_path: Path) -> None:
    model = ScriptedChatModel(ChatReply(text="2 and", prompt_tokens=5, completion_tokens=9, is_cut=True))
    said = await told(make_question(tmp_path), model, Manner(form="direct"))
    assert (said.response, said.failure) == ("2 and", "reply cut")


async def test_a_request_that_the_server_does_not_take_leaves_its_question_unanswered(tmp_path: Path) -> None:
    model = ScriptedChatModel(LOOK, RowError(reason="request not accepted", detail="2,048 tokens at most"))
    said = await told(make_question(tmp_path), model)
    assert (said.response, said.failure, said.detail) == ("", "request not accepted", "2,048 tokens at most")


async def test_a_question_that_holds_a_mark_of_the_form_is_not_asked(tmp_path: Path) -> None:
    model = ScriptedChatModel()
    said = await told(make_question(tmp_path, question="What does <THOUGHT> mean?"), model)
    assert said.failure == "question not in the wire form"
    assert not model.received
