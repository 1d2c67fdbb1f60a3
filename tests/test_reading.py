"""Records are readable on a page and on a terminal, and what they say cannot break the page."""

import pytest

from mmat_dagster.reading import SHOWN_CHARS, THOUGHT_CHARS, to_markdown, to_text
from mmat_dagster.schema import Dialogue, Observation, Rationale, Step, Transcript, Turn
from mmat_dagster.stages.integration import integrate
from tests.builders import SAMPLE, make_sample, render_dialogue

TURNS = (
    Turn(
        step=Step(thought="I read\nthe table.", operators=("ocr",), rag_query="sand", signal="continue"),
        observations=(Observation(tool="ocr", text="sand | $2"), Observation(tool="rag", text="Sand: x" * 200)),
    ),
    Turn(step=Step(thought="Wait.", signal="reflection")),
    Turn(step=Step(thought="It is <b>$2</b>, * and _ and | included.", signal="end")),
)


def dialogue() -> Dialogue:
    transcript = Transcript(question=SAMPLE.question, image_count=1, turns=TURNS, answer="2")
    return render_dialogue(SAMPLE, transcript, reflection="general", reflection_reason="never read")


def test_markdown_escapes_what_a_dialogue_says() -> None:
    shown = to_markdown(dialogue())
    assert "<b>" not in shown
    assert r"\<b\>$2\</b\>, \* and \_ and \| included." in shown
    assert "**reflection** Wait." in shown
    assert r"> *ocr*: sand \| $2" in shown


def test_a_long_result_is_shown_by_its_beginning() -> None:
    assert len(to_markdown(dialogue())) < SHOWN_CHARS + 700


def test_text_that_only_damage_makes_so_long_is_cut_on_a_page() -> None:
    assert len(to_markdown(make_sample(question="sand " * 10_000))) < THOUGHT_CHARS + 200


def test_text_is_wrapped_and_labelled() -> None:
    lines = to_text(dialogue(), 60, is_coloured=False).split("\n")
    assert lines[0] == "tabmwp/1 · train · CC BY-NC-SA 4.0 · teacher: scripted · general reflection"
    assert "  thought 1      I read" in lines
    assert "                 the table." in lines
    assert "  reflection     Wait." in lines
    assert "  answer         2" in lines
    assert max(map(len, lines[1:])) <= 60


def test_colours_are_for_terminals_only() -> None:
    assert "\033[" in to_text(dialogue(), 60, is_coloured=True)
    assert "\033[" not in to_text(dialogue(), 60, is_coloured=False)


@pytest.mark.parametrize("record", [SAMPLE, Rationale(sample=SAMPLE, turns=TURNS, teacher="scripted")])
def test_every_kind_of_record_shows_its_question(record: Rationale) -> None:
    assert "How much is the sand?" in to_text(record, 80, is_coloured=False)
    assert "How much is the sand?" in to_markdown(record)


def test_an_orr_dialogue_shows_results_thought_and_answer() -> None:
    integrated = integrate(dialogue(), "system")
    shown = to_text(integrated, 80, is_coloured=False)  # type: ignore[arg-type]
    assert "  ocr            sand | $2" in shown
    assert "  answer         2" in shown


def test_several_accepted_answers_are_all_shown() -> None:
    assert "a / b" in to_markdown(make_sample(answers=("a", "b")))
