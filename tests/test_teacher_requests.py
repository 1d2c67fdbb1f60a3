"""What the prompted teacher asks: messages as the prompts say, with what requests share in front, byte for byte."""

from pathlib import Path

import pytest

from mmat_dagster import prompts, wire
from mmat_dagster.chat import asking
from mmat_dagster.interfaces import ChatImage, ChatReply, RowError
from mmat_dagster.schema import ImageRef, Observation, Round, Step, Transcript, Turn
from mmat_dagster.teachers import replies, requests
from tests.builders import SAMPLE, make_sample
from tests.dialogues import END, OFFERED, PICTURES, READ, SAID, TRANSCRIPT, TURNS

IMAGE = ChatImage(
    path=Path("pictures/tabmwp/tables/1.png"),
    sha256="0" * 64,
    width=200,
    height=100,
    reference="tabmwp/tables/1.png",
)


def test_the_first_step_is_asked_with_system_prompt_images_question_and_answer() -> None:
    system, user = requests.render_next_step(SAMPLE, [], OFFERED, PICTURES, 6)
    assert (system.role, system.images) == ("system", ())
    assert system.text == prompts.render("rationale_system", operators="- ocr: reads", max_turns="6")
    assert (user.role, user.images) == ("user", (IMAGE,))
    assert user.text == prompts.render(
        "rationale_question", question=SAMPLE.question, answer="2", context="none", steps_left="6"
    )


def test_earlier_turns_are_told_as_the_teacher_wrote_them_and_as_the_wire_form_answers() -> None:
    messages = requests.render_next_step(SAMPLE, TURNS, OFFERED, PICTURES, 6)
    assert [message.role for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    _, _, raw, results, rendered, nothing = (message.text for message in messages)
    assert raw == SAID
    assert wire.render_results([READ]) in results
    assert "Steps left: 5" in results
    assert wire.NO_CALL + wire.CONTINUE in nothing
    assert "Steps left: 4" in nothing
    assert replies.parse_step(rendered, ()) == TURNS[1].step


def test_requests_of_one_dialogue_share_their_prefix() -> None:
    first = requests.render_next_step(SAMPLE, [], OFFERED, PICTURES, 6)
    second = requests.render_next_step(SAMPLE, TURNS[:1], OFFERED, PICTURES, 6)
    assert second[: len(first)] == first


def test_earlier_rounds_and_every_image_are_shown() -> None:
    images = tuple(ImageRef(home="source", path=f"{n}.png", sha256="0", width=1, height=1) for n in (1, 2))
    sample = make_sample(context=(Round(question="Which shop?", answer="Corner Books"),), images=images)
    user = requests.render_next_step(sample, [], OFFERED, PICTURES, 6)[1]
    assert "Question: Which shop?\nAnswer: Corner Books" in user.text
    assert [image.path for image in user.images] == [Path("pictures/tabmwp/1.png"), Path("pictures/tabmwp/2.png")]


def test_an_image_of_the_store_is_named_without_its_source() -> None:
    kept = ImageRef(home="store", path="images/ab/abc.png", sha256="abc", width=3, height=2)
    (image,) = requests.render_pretence(make_sample(images=(kept,)), TRANSCRIPT, PICTURES)[1].images
    assert (image.reference, image.sha256, image.width, image.height) == ("images/ab/abc.png", "abc", 3, 2)


def test_the_system_prompt_says_so_where_no_operator_is_offered() -> None:
    assert "none for these images" in requests.render_system([], 6)


def test_the_checks_of_one_dialogue_share_system_images_and_dialogue_byte_for_byte() -> None:
    material = prompts.render(
        "reflection_dialogue", question=SAMPLE.question, dialogue=requests.render_dialogue(TRANSCRIPT.turns)
    )
    checks = (
        requests.render_pretence(SAMPLE, TRANSCRIPT, PICTURES),
        requests.render_rewrite(SAMPLE, TRANSCRIPT, "No price was seen.", PICTURES),
        requests.render_skipped_calculation(SAMPLE, TRANSCRIPT, PICTURES),
    )
    for system, user in checks:
        assert (system.role, system.text, system.images) == ("system", prompts.render("reflection_system"), ())
        assert (user.role, user.images) == ("user", (IMAGE,))
        assert user.text.startswith(f"{material}\n\n")
    rests = [user.text.removeprefix(f"{material}\n\n") for _, user in checks]
    last_rounds = "Step 2: The price is on the tag.\n\nStep 3: It costs 2 dollars."
    assert rests == [
        prompts.render("reflection_general"),
        prompts.render("reflection_rewrite", reason="No price was seen."),
        prompts.render("reflection_math", last_rounds=last_rounds),
    ]


def test_no_check_sees_the_answer() -> None:
    checks = (
        *requests.render_pretence(SAMPLE, TRANSCRIPT, PICTURES),
        *requests.render_rewrite(SAMPLE, TRANSCRIPT, "why", PICTURES),
        *requests.render_skipped_calculation(SAMPLE, TRANSCRIPT, PICTURES),
    )
    assert not [message for message in checks if "the-gold-answer" in message.text]


def test_the_last_rounds_of_a_short_dialogue_are_all_of_it() -> None:
    lone = Transcript(question="q", image_count=1, turns=(END,), answer="2")
    _, asked = requests.render_skipped_calculation(SAMPLE, lone, PICTURES)
    assert asked.text.count("Step 1: It costs 2 dollars.") == 2


def test_a_judge_reads_thoughts_calls_and_results_as_plain_text() -> None:
    step = Step(thought="How tall is it?", operators=("ocr",), rag_query="tower height", signal="continue")
    turn = Turn(step=step, observations=(READ, Observation(tool="rag", text="Tower: 300 m")))
    assert requests.render_dialogue((turn, END)) == (
        "Step 1: How tall is it?\nCalled: ocr\nSearched for: tower height\n"
        "Result of ocr: sand $2.00\nResult of rag: Tower: 300 m\n\n"
        "Step 2: It costs 2 dollars."
    )


def make_reply(text: str) -> ChatReply:
    return ChatReply(text=text, prompt_tokens=1, completion_tokens=1)


def test_a_repair_shows_the_bad_reply_and_its_fault_without_quoting_it_again() -> None:
    error = replies.parse_step('{"thought": "It is 2."}', ())
    assert isinstance(error, RowError)
    said, asked = asking.render_repair(make_reply('{"thought": "It is 2."}'), error)
    assert (said.role, said.text, asked.role) == ("assistant", '{"thought": "It is 2."}', "user")
    assert asked.text == prompts.render("repair", fault="operators: Field required")


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_repair_of_nothing_shows_no_empty_turn(text: str) -> None:
    error = RowError(reason="malformed teacher reply", detail="an empty reply")
    (asked,) = asking.render_repair(make_reply(text), error)
    assert (asked.role, asked.text) == ("user", prompts.render("repair", fault="an empty reply"))
