"""Each deterministic check passes a sound dialogue, and names what is wrong with a damaged one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster import audit
from mmat_dagster.audit.check import Check, check_all, find_all
from mmat_dagster.audit.integrated import Integrated, pair
from mmat_dagster.audit.length import MAX_LENGTH, dialogue_tokens, image_tokens, text_tokens
from mmat_dagster.audit.quoting import find_quotes
from mmat_dagster.audit.reflections import find_idle_reflections
from mmat_dagster.audit.samples import Policy
from mmat_dagster.duplicates import Seen
from mmat_dagster.schema import Dialogue, ImageRef, Leak, Observation, Round, Step, Turn
from mmat_dagster.training.spec import HyperParameters
from tests.audits import READ, TURNS, make_dialogue, make_integrated, saying, thinking
from tests.builders import make_sample

LEAK = Leak(benchmark="mine", item="7", evidence="same question", score=1.0)
KEEPS_ALL = Policy()
TEMPLATE = replace(LEAK, evidence="template question")

T = TypeVar("T")


@pytest.fixture
def seen() -> Iterator[Seen]:
    memory = Seen()
    yield memory
    memory.close()


def found(dialogue: Dialogue, policy: Policy = KEEPS_ALL) -> dict[str, str]:
    """Return what does not hold of `dialogue`, by check."""
    return joined(lambda seen: audit.dialogue_checks(policy, seen), dialogue)


def found_integrated(integrated: Integrated, policy: Policy = KEEPS_ALL) -> dict[str, str]:
    return joined(lambda seen: audit.integrated_checks(policy, seen), integrated)


def joined(checks: Callable[[Seen], Sequence[Check[T]]], subject: T) -> dict[str, str]:
    with closing(Seen()) as seen:
        findings = list(find_all(checks(seen), subject))
    names = dict.fromkeys(finding.check for finding in findings)
    return {name: "; ".join(each.detail for each in findings if each.check == name) for name in names}


def test_the_names_of_the_checks_are_those_that_are_made(seen: Seen) -> None:
    assert tuple(check.name for check in audit.dialogue_checks(Policy(), seen)) == audit.OF_DIALOGUES
    assert tuple(check.name for check in audit.integrated_checks(Policy(), seen)) == audit.OF_INTEGRATED
    assert set(audit.DESCRIPTIONS) == {*audit.OF_DIALOGUES, *audit.OF_INTEGRATED}


def test_a_sound_dialogue_passes_every_check() -> None:
    assert found(make_dialogue()) == {}
    assert found(make_dialogue(TURNS[:1] + TURNS[3:])) == {}
    assert found_integrated(Integrated.of(make_integrated(make_dialogue()), make_dialogue())) == {}


WIRE_DAMAGES: list[tuple[Dialogue, str]] = [
    (saying(make_dialogue(), 2, lambda text: text.replace("</THOUGHT>", "")), "not a step"),
    (saying(make_dialogue(), 2, lambda text: text.replace("I read", "We read")), "something else than the turns"),
    (saying(make_dialogue(), 3, lambda text: text.replace("$3", "$4")), "something else than the turns"),
    (saying(make_dialogue(), 3, lambda text: text + " "), "does not end with"),
    (saying(make_dialogue(), -1, lambda text: "1"), "something else than the turns"),
    (saying(make_dialogue(), 1, lambda text: f"<image>{text}"), "something else than the turns"),
    (replace(make_dialogue(), messages=()), "roles must be"),
    (replace(make_dialogue(), messages=make_dialogue().messages[:-2]), "exactly the last step ends the reasoning"),
    (make_dialogue(images=make_sample().images * 2), "1 image marks stand before the question of 2 images"),
    (replace(make_dialogue(), sample=make_sample(question="Another one?")), "not that of the sample"),
]


@pytest.mark.parametrize(("damaged", "told"), WIRE_DAMAGES)
def test_a_dialogue_out_of_the_wire_form_is_told(damaged: Dialogue, told: str) -> None:
    (detail,) = [text for name, text in found(damaged).items() if name == audit.WIRE_FORM]
    assert any(part in detail for part in told.split("|"))


@pytest.mark.parametrize(
    ("answer", "is_gold"), [("2", True), ("$2.00", True), ("3", False), ("", False), ("two", False)]
)
def test_an_answer_is_gold_by_the_rule_of_the_source(answer: str, is_gold: bool) -> None:
    assert (audit.ANSWERS not in found(saying(make_dialogue(), -1, lambda text: answer))) == is_gold


def test_an_answer_within_the_range_of_the_source_is_gold() -> None:
    sample = make_sample(answers=("5",), number_range=(4.5, 5.5))
    assert audit.ANSWERS not in found(make_dialogue(answer="4.6", sample=sample))
    assert "gold is '5'" in found(make_dialogue(answer="4.4", sample=sample))[audit.ANSWERS]


QUOTES = [
    "The standard answer is 2.",
    "So it must be 2, as the ground truth says.",
    "The ground-truth answer confirms this.",
    "As given in the answer, the sand costs 2.",
    "As stated by the correct answer, it is 2.",
    "The correct answer is provided, so I work towards 2.",
    "Since the answer is already known, I only need a reason.",
    "This matches the expected answer.",
    "This is consistent with the correct answer.",
    "The reference answer says 2.",
    "According to the answer, the sand costs 2.",
    "The prompt says that the answer is 2.",
    "I was told that the answer is 2.",
    "I already know the answer, which is 2.",
    "The given answer is 2.",
    "We work backwards from the answer 2.",
    "THE  GOLD\nANSWER is 2.",
    "The annotated answer is 2.",
    "The provided correct answer must be right.",
    "By the answer key it is 2.",
]
SOUND = [
    "The correct answer is (B).",
    "So the answer is 2.",
    "The answer is given by the sum of both rows.",
    "The answer is stated in the second paragraph.",
    "The answer was given in the passage above.",
    "Of the given answer choices only (B) fits.",
    "I compare the provided answer options.",
    "The expected value of the throw is 3.5.",
    "The expected answer is a number, so I write 2.",
    "The expected answer format is a single word.",
    "The question states that the answer must be a whole number.",
    "According to the answer choices, it is one of two.",
    "The standard solution holds 2 g of salt.",
    "The known side is given as 5 cm.",
    "This confirms that the correct answer is (B).",
    "This matches the correct answer choice, which names a cube.",
    "As shown in the table, the answer follows.",
    "Two answers are possible, and one is ruled out.",
    "He won gold; the answer is his name.",
    "Before I answer, this needs more care: what I have so far does not yet show the answer.",
    "I know the answer has to be even.",
]


@pytest.mark.parametrize("thought", QUOTES)
def test_a_thought_that_speaks_of_a_given_answer_is_told_with_its_words(thought: str) -> None:
    told = found(thinking(thought, at=1))[audit.QUOTES]
    assert told.startswith("thought 2: … ")
    dialogue = thinking(thought, at=1)
    assert audit.QUOTES in found_integrated(Integrated.of(make_integrated(dialogue), dialogue))


@pytest.mark.parametrize("thought", SOUND)
def test_a_thought_that_reaches_an_answer_quotes_none(thought: str) -> None:
    assert list(find_quotes(thought, "")) == []


@pytest.mark.parametrize("shows", ["question", "choice", "context", "observation", "passage"])
def test_what_the_dialogue_shows_may_be_spoken_of(shows: str) -> None:
    text = "Where does the Answer  Key stand?"
    earlier = (Round(question=text, answer="on top"),)
    given: dict[str, dict[str, Any]] = {
        "question": {"question": text},
        "choice": {"choices": (text, "x")},
        "context": {"context": earlier},
    }
    turns = TURNS
    if shows in ("observation", "passage"):
        heard = Observation(tool="ocr" if shows == "observation" else "rag", text=text)
        called = (heard, TURNS[0].observations[1]) if shows == "observation" else (READ, heard)
        turns = (replace(TURNS[0], observations=called), *TURNS[1:])
    turns = (*turns[:-1], Turn(step=Step(thought="The answer key says 2 as well.", signal="end")))
    dialogue = make_dialogue(turns, sample=make_sample(**given.get(shows, {})))
    assert audit.QUOTES not in found(dialogue)
    assert audit.QUOTES not in found_integrated(Integrated.of(make_integrated(dialogue), dialogue))


@given(st.text())
def test_no_text_breaks_the_search_for_quotes(text: str) -> None:
    list(find_quotes(text, text))


def with_first(**changes: Any) -> Dialogue:
    """Return the sound dialogue whose first turn was changed behind the messages' back."""
    dialogue = make_dialogue()
    turns = (replace(TURNS[0], **changes), *TURNS[1:])
    return replace(dialogue, transcript=replace(dialogue.transcript, turns=turns))


def test_operators_that_were_never_called_are_told() -> None:
    named = replace(TURNS[0].step, operators=("ocr", "label_bbox"))
    assert found(with_first(step=named))[audit.CALLS] == "step 1: label_bbox is named, and has no result"
    assert found(with_first(observations=(READ,)))[audit.CALLS] == "step 1: rag is named, and has no result"


def test_results_that_nobody_asked_for_are_told() -> None:
    silent = replace(TURNS[0].step, operators=())
    assert found(with_first(step=silent))[audit.CALLS] == "step 1: ocr has a result, and was not called"
    still = replace(TURNS[0].step, rag_query=None)
    assert found(with_first(step=still))[audit.CALLS] == "step 1: rag has a result, and was not called"


def test_results_that_the_dialogue_does_not_tell_are_told() -> None:
    hidden = saying(make_dialogue(), 3, lambda text: text.replace("gravel", "clay"))
    assert found(hidden)[audit.CALLS] == f"step 1: what ocr said is not told: {READ.text!r}"
    cut = replace(make_dialogue(), messages=make_dialogue().messages[:3])
    assert "is not told" in found(cut)[audit.CALLS]


@pytest.mark.parametrize(
    "after",
    [
        "The sand costs as much as it says.",
        "the  SAND costs, as much as it says!",
        "Indeed, the sand costs as much as it says.",
        "The sand costs as much.",
        "So I read the table.",
    ],
)
def test_a_reflection_after_which_nothing_is_new_is_told(after: str) -> None:
    assert "step 3: the thought after the reflection was there before" in found(thinking(after))[audit.REFLECTIONS]


@pytest.mark.parametrize(
    "after", ["The sand costs 2 as much as it says.", "Not as much.", "The sand costs as much as it says, and says."]
)
def test_one_new_word_or_number_changes_the_reasoning(after: str) -> None:
    assert audit.REFLECTIONS not in found(thinking(after))


def test_another_sign_changes_a_calculation() -> None:
    turns = (
        Turn(step=Step(thought="It is 3 + 4.", signal="continue")),
        Turn(step=Step(thought="Wait.", signal="reflection")),
        Turn(step=Step(thought="It is 3 - 4.", signal="end")),
    )
    assert list(find_idle_reflections(make_dialogue(turns))) == []


def test_a_reflection_needs_something_to_look_back_on() -> None:
    dialogue = make_dialogue(TURNS[2:])
    assert found(dialogue)[audit.REFLECTIONS] == "step 1: nothing stands before the reflection"


def test_a_mark_without_a_reflection_and_the_other_way_round_are_told() -> None:
    marked = replace(make_dialogue(TURNS[:1] + TURNS[3:]), reflection="math")
    assert "is marked 'math', and has 0 reflection turns" in found(marked)[audit.REFLECTIONS]
    unmarked = replace(make_dialogue(), reflection="none")
    assert "is marked 'none', and has 1 reflection turns" in found(unmarked)[audit.REFLECTIONS]


def test_what_is_longer_than_the_student_takes_is_told() -> None:
    assert HyperParameters().max_length == MAX_LENGTH
    told = found(thinking("word " * MAX_LENGTH))[audit.LENGTH]
    assert told.endswith("16,384 are trained on")
    large = tuple(ImageRef(home="source", path="x", sha256="0" * 64, width=3000, height=3000) for _ in range(2))
    sample = make_sample(images=large)
    assert audit.LENGTH in found(make_dialogue(sample=sample))
    assert audit.LENGTH in found_integrated(Integrated.of(make_integrated(make_dialogue(sample=sample)), None))


def test_lengths_are_told_to_the_token() -> None:
    spare = MAX_LENGTH - dialogue_tokens(make_dialogue().messages, make_dialogue().images)
    assert audit.LENGTH not in found(thinking(TURNS[-1].step.thought + "1" * spare))
    assert (
        f"about {MAX_LENGTH + 1:,} tokens" in found(thinking(TURNS[-1].step.thought + "1" * (spare + 1)))[audit.LENGTH]
    )


@given(st.text())
def test_no_estimate_is_above_the_bytes_of_a_text(text: str) -> None:
    assert text_tokens(text) <= len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((448, 448), 256), ((200, 100), 768), ((1792, 1344), 3328), ((1, 1), 256), ((2800, 2800), 10_000)],
)
def test_an_image_counts_as_much_as_the_student_that_makes_most_of_it(size: tuple[int, int], tokens: int) -> None:
    assert image_tokens(*size) == tokens


def test_what_gives_a_benchmark_away_is_told_unless_it_is_kept_on_purpose() -> None:
    leaking = make_dialogue(sample=make_sample(leaks=(TEMPLATE, LEAK)))
    assert found(leaking) == {audit.LEAKS: "same question as mine 7 (1.00)"}
    assert found(leaking, Policy(leaks="warn")) == {}
    assert found(make_dialogue(sample=make_sample(leaks=(TEMPLATE,)))) == {}


def test_what_may_not_be_sold_is_told_where_it_is_left_out() -> None:
    commercial_only = Policy(allow_non_commercial=False)
    assert "CC BY-NC-SA 4.0, which allows no" in found(make_dialogue(), commercial_only)[audit.LICENCES]
    free = make_sample(source="the_cauldron", part="intergps", id="the_cauldron/1")
    assert found(make_dialogue(sample=free), commercial_only) == {}


def test_what_is_asked_twice_is_told_by_the_second_one(seen: Seen) -> None:
    again = make_dialogue(sample=make_sample(id="tabmwp/2", bare_question="how much is “the sand”"))
    other = make_dialogue(sample=make_sample(id="tabmwp/3", bare_question="How much is the gravel?"))
    dialogues = [make_dialogue(), other, again, other]
    told = check_all(audit.dialogue_checks(Policy(), seen), dialogues, lambda each: each.id, 10)[audit.DUPLICATES]
    assert (told.checked, told.failed) == (4, 2)
    assert told.first == {
        "tabmwp/2": "asks the same of the same images as tabmwp/1",
        "tabmwp/3": "the id came before; asks the same of the same images as tabmwp/3",
    }


def test_only_the_first_failures_are_named_and_all_are_counted(seen: Seen) -> None:
    wrong = [replace(saying(make_dialogue(), -1, lambda text: "9"), id=f"tabmwp/{at}") for at in range(5)]
    told = check_all(audit.dialogue_checks(Policy(), seen), wrong, lambda each: each.id, 2)[audit.ANSWERS]
    assert (told.failed, list(told.first)) == (5, ["tabmwp/0", "tabmwp/1"])


def lost_of(damage: Any, dialogue: Dialogue | None = None) -> dict[str, str]:
    rr = dialogue or make_dialogue()
    record = make_integrated(make_dialogue())
    messages = list(record.messages)
    at = 1 if "ocr" in damage[0] or damage[0].startswith("<|") else 2
    messages[at] = replace(messages[at], content=messages[at].content.replace(*damage))
    return found_integrated(Integrated.of(replace(record, messages=tuple(messages)), rr))


def test_an_orr_dialogue_that_loses_a_thought_or_a_result_is_told() -> None:
    assert "thought 1 is lost" in lost_of(("I read the table.\n", ""))[audit.KEEPS]
    assert (
        "what ocr said is lost" in lost_of(("<|begin_result_of_api|>sand", "<|begin_result_of_api|>clay"))[audit.KEEPS]
    )
    swapped = (
        "I read the table.\nThe sand costs as much as it says.",
        "The sand costs as much as it says.\nI read the table.",
    )
    assert "thought 2 is lost, or stands before" in lost_of(swapped)[audit.KEEPS]
    assert "the answer is '3', that of RR '2'" in lost_of(("is: 2", "is: 3"))[audit.KEEPS]


def test_what_a_search_found_belongs_into_no_orr_dialogue() -> None:
    record = make_integrated(make_dialogue())
    assert "loose material" not in record.messages[1].content
    assert found_integrated(Integrated.of(record, make_dialogue())) == {}


def test_an_orr_dialogue_out_of_its_form_is_told_and_breaks_no_check() -> None:
    told = lost_of(("</ANSWER>", ""))
    assert told.keys() == {audit.WIRE_FORM, audit.ANSWERS}
    assert "not an ORR reply" in told[audit.WIRE_FORM]


def test_dialogues_are_paired_by_their_ids_in_order() -> None:
    dialogues = [make_dialogue(sample=make_sample(id=f"tabmwp/{at}", bare_question=str(at))) for at in range(4)]
    integrated = [make_integrated(dialogue) for dialogue in dialogues if dialogue.id != "tabmwp/1"]
    paired = list(pair(integrated, dialogues))
    assert [each.rr and each.rr.id for each in paired] == ["tabmwp/0", "tabmwp/2", "tabmwp/3"]
    (alone,) = pair(integrated[:1], dialogues[1:])
    assert found_integrated(alone) == {audit.KEEPS: "there is no RR dialogue of this id"}
    (uncompared,) = pair(integrated[:1], None)
    assert found_integrated(uncompared) == {}


def test_every_failed_check_alone_takes_a_dialogue_below_high_quality() -> None:
    assert all(check.weight > 0.3 for check in audit.SELF_EVIDENT)
    assert {check.name: check.weight for check in audit.SELF_EVIDENT}[audit.WIRE_FORM] == 1.0
