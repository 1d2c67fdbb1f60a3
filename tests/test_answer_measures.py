"""The measures of DocVQA, ChartQA, TextVQA and of plain answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.scoring.answer_measures import score_anls, score_exact_match, score_relaxed, score_vqa
from mmat_dagster.scoring.edit_distance import edit_distance
from mmat_dagster.scoring.vqa_wording import normalise_answer

words = st.text("abc ", max_size=12)


def table_distance(one: str, other: str) -> int:
    """Compute Levenshtein's distance by the whole table."""
    rows = [list(range(len(other) + 1))]
    for place, letter in enumerate(one, start=1):
        row = [place]
        for at, across in enumerate(other):
            row.append(min(rows[-1][at] + (letter != across), rows[-1][at + 1] + 1, row[-1] + 1))
        rows.append(row)
    return rows[-1][-1]


@given(words, words)
def test_the_edit_distance_is_levenshteins(one: str, other: str) -> None:
    assert edit_distance(one, other) == table_distance(one, other)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("HELLO  world", 1.0), ("hello word", 10 / 11), ("hello", 0.0), ("hello wxyza", 7 / 11), ("", 0.0), ("xyz", 0.0)],
)
def test_anls_is_the_nearest_answers_and_nothing_below_a_half(answer: str, expected: float) -> None:
    assert score_anls(answer, ["hello world", "something else entirely"]) == pytest.approx(expected)


def test_anls_of_no_gold_and_of_empty_ones() -> None:
    assert score_anls("x", []) == 0.0
    assert score_anls(" ", [""]) == 1.0


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("104", "100", True),
        ("105", "100", True),
        ("105.1", "100", False),
        ("-96", "-100", True),
        ("5%", "0.05", True),
        ("5", "5%", False),
        ("51%", "50%", True),
        ("0", "0", True),
        ("0.0", "0", False),
        ("Yes", "yes", True),
        ("1,000", "1000", False),
        ("nan", "100", False),
        ("inf", "inf", False),
        ("%", "100", False),
    ],
)
def test_relaxed_accuracy(answer: str, gold: str, right: bool) -> None:
    assert score_relaxed(answer, [gold]) == right


def test_exact_match_but_for_case_and_outer_spaces() -> None:
    assert score_exact_match(" Paris\n", ["paris", "Rome"]) == 1.0
    assert score_exact_match("par is", ["paris"]) == 0.0


@pytest.mark.parametrize(("agreeing", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_accuracy_of_ten_answers(agreeing: int, expected: float) -> None:
    assert score_vqa("Two.", ["2"] * agreeing + ["3"] * (10 - agreeing)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "normalised"),
    [
        ("Two, I think.", "2 i think"),
        ("the 1,000 dogs!", "1000 dogs"),
        ("red/blue", "red blue"),
        ("red / blue", "red blue"),
        ("3.5 kg.", "3.5 kg"),
        ("He dont\tcouldn'tve", "he don't couldn't've"),
        ("somebody'd", "somebodyd"),
        ("." * 40 + "x", "." * 8 + "x"),
    ],
)
def test_answers_are_written_as_the_vqa_evaluation_does(answer: str, normalised: str) -> None:
    assert normalise_answer(answer) == normalised
