"""TabMWP is scored as PromptPG scores it: published figures to the digit, and each way to take an answer out."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.scoring.benchmark import Item, Judged, Output, ScoringError, Unreadable
from mmat_dagster.scoring.tabmwp import TabMWP, normal_form

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "benchmarks" / "tabmwp"
GPT3 = PUBLISHED / "gpt3_exp4_test_TQ-SA_2_seed_2.json"
CHOICES = ("shortage", "surplus")
BENCHMARK = TabMWP()


def item(*, gold: str = "35", choices: tuple[str, ...] = (), unit: str | None = None) -> Item:
    return Item(id="1", question="?", gold=(gold,), answer_type="number", choices=choices, unit=unit)


@pytest.mark.skipif(not GPT3.is_file(), reason="the published data is not here")
@pytest.mark.parametrize("gold", [None, PUBLISHED / "problems_test800.json", PUBLISHED])
def test_gpt3s_published_score_comes_out_to_the_digit(gold: Path | None) -> None:
    outputs = [each for each in BENCHMARK.outputs(GPT3, gold) if isinstance(each, Output)]
    judged = [
        Judged(item=each.item, verdict=BENCHMARK.judge(each.item, each.response, each.extraction)) for each in outputs
    ]
    scores = BENCHMARK.combine(judged)
    assert scores.overall == pytest.approx(json.loads(GPT3.read_bytes())["acc"], abs=1e-9)
    assert [each.verdict for each in outputs] == [bool(each.verdict.score) for each in judged]


@pytest.mark.skipif(not GPT3.is_file(), reason="the published data is not here")
def test_the_published_problems_are_asked_with_their_tables() -> None:
    items = [each for each in BENCHMARK.items(PUBLISHED) if isinstance(each, Item)]
    assert len(items) == 800
    assert all(isinstance(each.images[0], Path) and each.images[0].is_file() for each in items)
    assert {each.answer_type for each in items} == {"number", "option_text"}


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("35", "35"),
        ("35.", "35"),
        ("The answer is 35.", "35"),
        ("Add them. 30 + 5 = 35", "35"),
        ("That will be $1.40 in all", "$1.40"),
        ("There were 7 of 12", "7"),
        ("It begins at 7:25 P.M.", "7:25 P.M."),
        (r"$\frac{16}{95}$", "16/95"),
        ("3=4", "4"),
        ("x is \u22123", "-3"),
        ("none at all", "none at all"),
        ("", ""),
    ],
)
def test_an_open_answer_is_taken_from_where_answers_stand(said: str, answer: str) -> None:
    assert (BENCHMARK.judge(item(), said).parsed or "") == answer


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ("(B)", "surplus"),
        ("b", "surplus"),
        ("A. shortage", "shortage"),
        ("The answer is B.", "surplus"),
        ("(A) shortage", "shortage"),
        ("The answer is (B) surplus.", "surplus"),
        ("surplus", "surplus"),
        ("there is a surplus", "surplus"),
        ("no idea", "shortage"),
    ],
)
def test_a_choice_is_taken_by_its_letter_or_by_its_words(said: str, choice: str) -> None:
    assert BENCHMARK.judge(item(choices=CHOICES), said).parsed == choice


@pytest.mark.parametrize(
    ("text", "unit", "same"),
    [
        ("$1,000", None, "1000"),
        ("8.20", None, "8.2"),
        ("3/4", None, "0.75"),
        ("2.000", None, "2"),
        ("8 kg", "kg", "8"),
        ("1/0", None, "1/0"),
        ("1.2.3", None, "1.2.3"),
        ("9" * 5000, None, "9" * 5000),
    ],
)
def test_equal_answers_have_one_form(text: str, unit: str | None, same: str) -> None:
    assert normal_form(text, unit) == same


def test_results_are_judged_with_the_problems_where_these_are_named(tmp_path: Path) -> None:
    gold = tmp_path / "problems_test.json"
    problem = {
        "question": "?",
        "choices": None,
        "answer": "35",
        "unit": None,
        "ques_type": "free_text",
        "ans_type": "integer_number",
        "grade": 7,
    }
    gold.write_text(json.dumps({"1": problem, "2": problem}))
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"results": {"1": {"answer": "35", "output": "The answer is 35."}, "2": {"x": 1}}}))
    read = list(BENCHMARK.outputs(results, gold))
    assert [type(each).__name__ for each in read] == ["Output", "Unreadable"]
    (output,) = [each for each in read if isinstance(each, Output)]
    assert BENCHMARK.judge(output.item, output.response, output.extraction).score == 1.0
    assert output.item.groups


def test_what_is_missing_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="PromptPG"):
        list(BENCHMARK.items(tmp_path))
    with pytest.raises(ScoringError, match="is no file of results"):
        BENCHMARK.outputs(tmp_path / "results.json", None)
    (tmp_path / "problems_test.json").write_text(json.dumps({"1": {"question": "?", "answer": "3", "table": "a | b"}}))
    (lost,) = BENCHMARK.items(tmp_path)
    assert isinstance(lost, Unreadable)
    assert "1.png" in lost.problem


HARD = st.sampled_from(
    ["-" * 100_000, "9" * 100_000, "$" + "1," * 50_000, " is -" * 20_000, r"\frac{" * 20_000, " = " * 30_000, "NaN"]
)


@given(st.one_of(st.text(max_size=300), HARD), st.sampled_from([(), CHOICES]), st.sampled_from([None, "", "kg"]))
def test_no_text_breaks_the_rule(said: str, choices: tuple[str, ...], unit: str | None) -> None:
    verdict = BENCHMARK.judge(item(choices=choices, unit=unit), said)
    assert verdict.score in {0.0, 1.0}
