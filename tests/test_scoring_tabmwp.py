"""TabMWP's rule: published scores to the digit where the files are here, and its edges."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.scoring.benchmark import Item, ScoringError
from mmat_dagster.scoring.tabmwp import FINETUNED, PROMPTED, TabMWP, extract, normal_form
from tests.benchmark_scores import PUBLISHED, items_of, problems_of, read_outputs, score_file, score_outputs, shuffled
from tests.layouts import write_tabmwp

REAL = PUBLISHED / "tabmwp"
GPT3 = REAL / "gpt3_exp4_test_TQ-SA_2_seed_2.json"
published = pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")

BENCHMARK = TabMWP()


def write(path: Path, results: dict[str, dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"acc": 0.0, "shot_pids": ["1"], "args": {"seed": 1}, "results": results}))
    return path


def free(gold: str, unit: str | None = None) -> Item:
    return Item(id="1", question="?", gold=(gold,), answer_type="number", unit=unit)


@published
@pytest.mark.parametrize("gold", [None, REAL])
def test_gpt3s_published_accuracy_comes_out_of_its_outputs(gold: Path | None) -> None:
    told = json.loads(GPT3.read_text(encoding="utf-8"))
    scores = score_file(BENCHMARK, GPT3, gold)
    assert (scores.overall, scores.n) == (told["acc"], told["count"]) == (63.51808482956024, 7686)


@published
def test_every_published_prediction_and_verdict_comes_out() -> None:
    told = json.loads(GPT3.read_text(encoding="utf-8"))["results"]
    for output in read_outputs(BENCHMARK, GPT3, REAL):
        verdict = BENCHMARK.judge(output.item, output.response, output.extraction)
        recorded = told[output.item.id]
        assert (verdict.parsed or "", verdict.score == 1.0) == (recorded["prediction"], recorded["true_false"])


@published
def test_where_the_problems_are_there_the_recorded_prediction_tells_what_was_drawn_and_no_more(tmp_path: Path) -> None:
    problems = REAL / "problems_test800.json"
    results = json.loads(GPT3.read_text(encoding="utf-8"))["results"]
    told = {pid: results[pid] for pid in json.loads(problems.read_text(encoding="utf-8"))}
    choices = {item.id: item.choices for item in items_of(BENCHMARK, REAL)}
    drawn = {pid for pid, record in told.items() if extract(record["output"], choices[pid]) is None}
    bare = {pid: {"output": told[pid]["output"], "prediction": "?"} for pid in told}
    bare |= {pid: {"output": told[pid]["output"], "prediction": told[pid]["prediction"]} for pid in drawn}
    scores = score_file(BENCHMARK, write(tmp_path / "bare.json", bare), problems)
    right = sum(record["true_false"] for record in told.values())
    assert (len(drawn), scores.n, scores.overall) == (5, 800, 100.0 * right / 800)
    assert set(scores.metrics) >= {"acc_average", "acc_free", "acc_mc", "acc_grade_1_6", "acc_grade_7_8"}


@published
def test_the_order_of_the_published_outputs_does_not_count() -> None:
    outputs = read_outputs(BENCHMARK, GPT3, REAL)[:1500]
    assert score_outputs(BENCHMARK, shuffled(outputs)).overall == score_outputs(BENCHMARK, outputs).overall


@published
def test_the_published_problems_are_items_with_their_tables() -> None:
    items = items_of(BENCHMARK, REAL)
    assert len(items) == 800
    assert all(item.images == (REAL / "tables" / f"{item.id}.png",) for item in items)
    assert {item.groups["grade"] for item in items} == {("grade_1_6",), ("grade_7_8",)}


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("35", 1.0),
        ("$35.00", 1.0),
        ("The answer is 35", 1.0),
        ("The answer is $35.", 1.0),
        ("30 + 5 = 35", 1.0),
        ("35 dollars", 1.0),
        ("It costs 30, so the total is $35.", 1.0),
        ("It costs 35, so I pay with 40", 0.0),
        ("The answer is 35 dollars.", 0.0),
        ("the answer is 35, not 40", 1.0),
        ("", 0.0),
    ],
)
def test_a_free_answer_is_judged_as_the_publisher_does(response: str, score: float) -> None:
    assert BENCHMARK.judge(free("35", "$"), response).score == score


@pytest.mark.parametrize(
    ("answer", "unit", "form"),
    [
        ("1,000", None, "1000"),
        ("3/4", None, "0.75"),
        ("56.4560", None, "56.456"),
        ("$56.4", "$", "56.4"),
        ("-10.0", None, "-10"),
        ("3 minutes per day", "minutes per day", "3"),
        ("7:25 P.M.", None, "7:25 P.M"),
        ("1/0", None, "1/0"),
        ("1.2.3", None, "1.2.3"),
        ("9" * 5000, None, "9" * 5000),
    ],
)
def test_answers_have_a_normal_form(answer: str, unit: str | None, form: str) -> None:
    assert normal_form(answer, unit) == form


@pytest.mark.parametrize(
    ("response", "chosen"),
    [
        ("(B)", "surplus of red wool"),
        ("b", "surplus of red wool"),
        ("The answer is A.", "shortage"),
        ("The answer is (B) surplus.", "surplus of red wool"),
        ("(A) shortage, clearly", "shortage"),
        ("shortage", "shortage"),
        ("much red wool", "surplus of red wool"),
        ("An excess", "shortage"),
        ("(D)", None),
        ("(Q)", "shortage"),
    ],
)
def test_a_choice_is_taken_out_as_the_publisher_does(response: str, chosen: str | None) -> None:
    assert extract(response, ("shortage", "surplus of red wool")) == chosen


def test_a_letter_that_no_choice_has_is_drawn_for_by_the_problem_alone() -> None:
    asked = [
        Item(id=str(number), question="?", gold=("yes",), answer_type="option_text", choices=("yes", "no"))
        for number in range(200)
    ]
    scores = [BENCHMARK.judge(item, "(F)").score for item in asked]
    assert scores == [BENCHMARK.judge(item, "(F)").score for item in asked]
    assert 60 < sum(scores) < 140


def test_the_verdicts_tell_prompted_models_from_fine_tuned_ones(tmp_path: Path) -> None:
    record = {"answer": "16", "output": "16, 16, = 19 a 3", "prediction": "3", "prediction_norm": "3"}
    for answer, rule in (("19", PROMPTED), ("3", FINETUNED)):
        path = write(tmp_path / "results.json", {"46": {**record, "answer": answer, "true_false": True}})
        assert BENCHMARK.find_rule(read_outputs(BENCHMARK, path)) == rule
        assert score_file(BENCHMARK, path).overall == 100.0


def test_a_file_of_results_alone_tells_choices_and_units(tmp_path: Path) -> None:
    results = {
        "1": {"answer": "Hunter", "output": "The answer is B.", "prediction": "Hunter"},
        "2": {"answer": "3", "output": "The answer is 3 kg.", "prediction": "3 kg", "prediction_norm": "3"},
        "3": {"answer": "4", "output": "The answer is 3 kg.", "prediction": "4", "prediction_norm": "4"},
    }
    outputs = read_outputs(BENCHMARK, write(tmp_path / "results.json", results))
    assert [output.extraction for output in outputs] == ["Hunter", None, None]
    assert [BENCHMARK.judge(each.item, each.response, each.extraction).score for each in outputs] == [1.0, 1.0, 0.0]


def test_broken_results_are_told_and_their_neighbours_kept(tmp_path: Path) -> None:
    right = {"answer": "3", "output": "3"}
    results: dict[str, Any] = {
        "1": right,
        "2": {"answer": "3"},
        "3": 7,
        "4": {"answer": "blue", "output": "B"},
        "5": right,
    }
    found = list(BENCHMARK.outputs(write(tmp_path / "results.json", results), None))
    assert problems_of(list(found)) == [
        "2: the record has no output",
        "3: the record is no object",
        "4: the record has no prediction, and its choices are not known: the problems are needed",
    ]
    assert len(found) == 5


def test_files_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="no record has an output"):
        BENCHMARK.outputs(write(tmp_path / "results.json", {}), None)
    with pytest.raises(ScoringError, match="is no file of results"):
        BENCHMARK.outputs(tmp_path, None)
    with pytest.raises(ScoringError, match=r"problems_test\.json.*PromptPG"):
        BENCHMARK.items(tmp_path)


def test_problems_of_another_split_are_no_items(tmp_path: Path) -> None:
    folder = write_tabmwp(tmp_path, count=2) / "tabmwp"
    problems = json.loads((folder / "problems_train.json").read_text())
    problems["1"]["split"] = "test"
    (folder / "problems_test.json").write_text(json.dumps(problems))
    (one,) = items_of(BENCHMARK, folder)
    assert (one.id, one.unit, one.answer_type, one.images) == ("1", "$", "number", (folder / "tables" / "1.png",))
