"""What sources write around a question: instructions, choices, letters, kinds of answer, and what a question names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.sources.nouns import phrase_of
from mmat_dagster.sources.wording import (
    guess_answer_type,
    read_letter,
    split_choices,
    strip_full_stop,
    strip_instructions,
)


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("What is the company in the invoice shown in the picture?", "company"),
        ("What is the total amount in the invoice shown in the picture?", "total amount"),
        ("What color is the car to the left of the man?", "car"),
        ("Is the man wearing a hat?", "man"),
        ("What is in the building?", "building"),
        ("What does the sign say?", "sign"),
        ("Can you describe the bird's beak in the image?", "bird's beak"),
        ("Is there a red cup on the wooden table?", "red cup"),
        ("How many people are there?", "people"),
        ("What brand is shown?", "brand"),
        ("What year was this taken?", "year"),
        ("Which side of the picture is the dog on?", "dog"),
        ("What is this?", "answer region"),
        ("What is the one two three four five thing?", "answer region"),
        ("", "answer region"),
    ],
)
def test_a_box_is_named_by_what_the_question_asks_about(question: str, phrase: str) -> None:
    assert phrase_of(question) == phrase


@given(st.text())
def test_any_question_gives_a_short_phrase(question: str) -> None:
    assert 0 < len(phrase_of(question).split()) <= 4


@pytest.mark.parametrize(
    ("text", "kept_text"),
    [
        ("How many?\nQuick response, please.", "How many?"),
        ("How many? Answer the question using a single word or phrase.", "How many?"),
        ("Is it?\nAnswer yes or no.", "Is it?"),
        ("Keep responses brief for each question.\nIs it?", "Is it?"),
        ("Find it. Give your answer in meters.", "Find it. Give your answer in meters."),
        ("Answer briefly.", "Answer briefly."),
        ("Is the answer yes or no?", "Is the answer yes or no?"),
        ("Which is short?", "Which is short?"),
    ],
)
def test_only_instructions_on_style_are_stripped(text: str, kept_text: str) -> None:
    assert strip_instructions(text) == kept_text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Q?\nOptions:\n(A) one\n(B) two", ("Q?", ("one", "two"))),
        ("Q?\nA. one\nB. two\nC. three", ("Q?", ("one", "two", "three"))),
        ("Q? Options: (A) a b (B) c", ("Q?", ("a b", "c"))),
        ("Is vitamin A. or C. in it?", ("Is vitamin A. or C. in it?", ())),
        ("Q?\nA. one\nC. three", ("Q?\nA. one\nC. three", ())),
        ("Plain?", ("Plain?", ())),
    ],
)
def test_choices_are_told_from_the_question(text: str, found: tuple[str, tuple[str, ...]]) -> None:
    assert split_choices(text) == found


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("Answer: B", "B"),
        ("B. y", "B"),
        ("The answer is B.", "B"),
        ("B. z", None),
        ("By", None),
    ],
)
def test_a_letter_is_read_in_every_usual_form(answer: str, letter: str | None) -> None:
    assert read_letter(answer, ("x", "y")) == letter


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("$8.20", "number"),
        ("-1,234.5", "number"),
        ("50%", "number"),
        ("RM 12", "number"),
        (".5", "number"),
        ("25/12/2018", "word_or_phrase"),
        ("12 MAR 2018", "word_or_phrase"),
        ("No.", "yes_no"),
        ("one two three four five six seven eight", "word_or_phrase"),
        ("one two three four five six seven eight nine", "free_text"),
    ],
)
def test_the_answer_type_follows_from_the_answer(answer: str, kind: str) -> None:
    assert guess_answer_type(answer) == kind


@pytest.mark.parametrize(
    ("answer", "plain"), [("78.", "78"), ("U.S.", "U.S."), ("Coca cola.", "Coca cola"), (".", "."), ("5.0", "5.0")]
)
def test_a_full_stop_closes_a_sentence_not_an_abbreviation(answer: str, plain: str) -> None:
    assert strip_full_stop(answer) == plain
