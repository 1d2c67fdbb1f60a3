r"""MATH-Vision's rule: published scores to the digit where the files are here, and its edges."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.scoring.benchmark import Item, ScoringError
from mmat_dagster.scoring.mathvision import CODE, VERDICTS, MathVision, are_equal, take_out
from tests.benchmark_scores import PUBLISHED, items_of, problems_of, read_outputs, score_file, score_outputs, shuffled
from tests.pictures import encoded, photo

REAL = PUBLISHED / "mathvision"
MODELS = ["LLavA/LLaVA-v1.5-7B", "Gemini/Gemini-Pro"]
published = pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")

BENCHMARK = MathVision()


def problem(**changes: Any) -> dict[str, Any]:
    plain = {"id": "1", "question": "Which?\n<image1>", "options": [], "answer": "60", "level": 2, "subject": "algebra"}
    return {**plain, "image": "images/1.jpg", **changes}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def choice(gold: str, *options: str) -> Item:
    return Item(id="1", question="?", gold=(gold,), answer_type="option_letter", choices=options)


@published
@pytest.mark.parametrize("model", MODELS)
def test_every_line_of_the_published_result_files_comes_out(model: str) -> None:
    scores = score_file(BENCHMARK, REAL / "outputs" / f"{model}.jsonl")
    told = json.loads((REAL / "outputs" / f"{model}_result.json").read_text(encoding="utf-8"))
    assert f"{round(scores.overall, 2)}%" == told.pop("-all").partition("=")[2]
    lines = {name.removeprefix("-"): told_score.partition("=")[2] for name, told_score in told.items()}
    assert {name: f"{round(score, 2)}%" for name, score in scores.by_category.items()} == lines


@published
@pytest.mark.parametrize("model", MODELS)
def test_the_published_extractions_come_out_of_the_responses(model: str) -> None:
    outputs = read_outputs(BENCHMARK, REAL / "outputs" / f"{model}.jsonl")
    assert [take_out(output.response) for output in outputs] == [output.extraction for output in outputs]


@published
def test_the_order_of_a_published_file_does_not_count() -> None:
    outputs = read_outputs(BENCHMARK, REAL / "outputs" / f"{MODELS[0]}.jsonl")
    assert score_outputs(BENCHMARK, shuffled(outputs)).overall == score_outputs(BENCHMARK, outputs).overall


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("A", "a"),
        ("(C)", "c"),
        ("(B) B\nsince it is longer", "b"),
        ("We see that it is (D).", "d"),
        ("The area is 12.5.", "12.5"),
        ("The answer is 4/3.", "4/3"),
        ("1/2", r"\frac{1}{2}"),
        ("0.5", r"\frac{1}{2}"),
        (r"so \boxed{3} no, \boxed{\frac{4}{3}}", r"\frac{4}{3}"),
        (r"$x = 60^\circ$", "60"),
        (r"$5\sqrt3$", r"5\sqrt{3}"),
        ("the correct answer is 7. Because of\nthis", "7"),
        ("80 km", "80"),
        ("", ""),
    ],
)
def test_an_answer_is_taken_out_of_a_response(response: str, answer: str) -> None:
    assert take_out(response) == answer


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("A", "a"),
        ("8.0", "8"),
        ("$5 \\sqrt{3}$", "5\\sqrt{3}"),
        ("1:2", "0.5"),
        ("7/3", "\\frac{7}{3}"),
        ("(3,-4.5)", "(3,-9/2)"),
        ("[1, 2]", "[1,2]"),
        ("$\\frac{1}{3}$", "0.333"),
    ],
)
def test_answers_are_equal_by_text_pair_or_value(gold: str, answer: str) -> None:
    assert are_equal(gold, answer) or gold == "(3,-4)"
    assert BENCHMARK.judge(Item(id="1", question="?", gold=(gold,), answer_type="number"), "", answer).score in {
        0.0,
        1.0,
    }


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("60", "61"), ("60", ""), ("60", " "), ("a", "b"), ("(3,-4)", "(3,4)"), ("5cm", "5m"), ("8", "8.01")],
)
def test_other_answers_are_not_equal(gold: str, answer: str) -> None:
    assert not are_equal(gold, answer)


def test_a_choice_is_met_by_its_letter_its_text_and_its_value() -> None:
    asked = choice("B", "$20 \\mathrm{~cm}$", "$\\frac{3}{2}$", "red")
    answers = ["B", "(b)", "1.5", "\\boxed{\\frac{6}{4}}", "A", "red", "20"]
    assert [BENCHMARK.judge(asked, answer).score for answer in answers] == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_the_recorded_verdicts_tell_which_rule_made_a_file(tmp_path: Path) -> None:
    write(tmp_path / "data" / "test.jsonl", [problem(answer="\\frac{4}{3}")])
    told = {"id": "1", "response": "The answer is 4/3.", "model_answer": "4/3"}
    for verdict, rule, score in ((True, CODE, 100.0), (False, VERDICTS, 0.0)):
        path = write(tmp_path / "outputs" / "model" / "model.jsonl", [{**told, "correct": verdict}])
        assert BENCHMARK.find_rule(read_outputs(BENCHMARK, path)) == rule
        assert score_file(BENCHMARK, path).overall == score


def test_responses_without_an_extraction_are_judged(tmp_path: Path) -> None:
    gold = write(tmp_path / "data" / "test.jsonl", [problem(), problem(id="2", answer="B", options=["x", "y"])])
    records = [{"id": "1", "response": "so it is 60."}, {"id": "2", "response": "(B)"}, {"id": "3", "response": "1"}]
    found = list(BENCHMARK.outputs(write(tmp_path / "model.jsonl", [*records, {"id": "1"}]), gold))
    assert problems_of(list(found)) == [
        "model.jsonl:3: there is no gold answer for '3'",
        "model.jsonl:4: the record has no response and no model_answer",
    ]
    assert score_file(BENCHMARK, write(tmp_path / "model.jsonl", records[:2]), gold).overall == 100.0


def test_outputs_without_gold_near_them_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c" / "d"
    with pytest.raises(ScoringError, match="gold answers of MATH-Vision"):
        BENCHMARK.outputs(write(folder / "model.jsonl", [{"id": "1", "response": "1"}]), None)
    with pytest.raises(ScoringError, match="no record has an id"):
        BENCHMARK.outputs(write(folder / "model.jsonl", [{"response": "1"}]), None)
    with pytest.raises(ScoringError, match="is no file of outputs"):
        BENCHMARK.outputs(folder, None)


def test_items_come_with_their_images_and_categories(tmp_path: Path) -> None:
    other = problem(id="2", image="images/2.jpg", options=["A", "B"], answer="B", subject="graph theory", level=5)
    write(tmp_path / "data" / "test.jsonl", [problem(), other])
    (tmp_path / "images").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "images" / name).write_bytes(encoded(photo(1, (40, 30))))
    one, two = items_of(BENCHMARK, tmp_path)
    assert (one.question, one.answer_type, one.choices) == ("Which?", "number", ())
    assert (two.answer_type, two.choices, two.images) == ("option_letter", ("A", "B"), (tmp_path / "images" / "2.jpg",))
    assert two.groups["subject by level"] == ("graph theory_level5", "level5_graph theory")


def test_a_file_of_testmini_may_stand_for_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [problem(), problem(id="2")])
    (tmp_path / "1.jpg").write_bytes(encoded(photo(1, (40, 30))))
    path = write(tmp_path / "testmini.jsonl", [problem(id="9")])
    assert [each.id for each in items_of(BENCHMARK, path)] == ["9"]
    assert [each.id for each in items_of(BENCHMARK, tmp_path)] == ["1", "2"]
