"""MathVista's rule: published scores to the digit where the files are here, and its edges."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.scoring.benchmark import Item, ScoringError
from mmat_dagster.scoring.edit_distance import edit_distance, nearest
from mmat_dagster.scoring.mathvista import FIRST, TODAY, MathVista
from tests.benchmark_scores import PUBLISHED, items_of, problems_of, read_outputs, score_file, score_outputs, shuffled
from tests.pictures import encoded, photo

REAL = PUBLISHED / "mathvista"
published = pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")

BENCHMARK = MathVista()


def record(**changes: Any) -> dict[str, Any]:
    metadata = {"source": "TQA", "task": "math word problem", "skills": ["algebraic reasoning", "logical reasoning"]}
    plain = {
        "pid": "1",
        "question": "How many?",
        "image": "images/1.jpg",
        "choices": None,
        "unit": None,
        "precision": None,
        "answer": "3",
        "question_type": "free_form",
        "answer_type": "integer",
        "metadata": {
            **metadata,
            "language": "english",
            "context": "table",
            "category": "general-vqa",
            "grade": "college",
        },
    }
    return {**plain, **changes}


def item(kind: str, gold: str, choices: tuple[str, ...] = (), precision: str = "0") -> Item:
    question_type = "multi_choice" if choices else "free_form"
    facts = {"question_type": question_type, "answer_type": kind, "precision": precision}
    answer_type = "option_text" if choices else "number" if kind in {"integer", "float"} else "free_text"
    return Item(id="1", question="?", gold=(gold,), answer_type=answer_type, choices=choices, facts=facts)  # type: ignore[arg-type]


def write(folder: Path, records: list[dict[str, Any]], name: str = "output_model.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({each.get("pid", str(at)): each for at, each in enumerate(records)}))
    return path


@published
def test_bards_published_scores_come_out_all_of_them() -> None:
    scores = score_file(BENCHMARK, REAL / "results" / "bard" / "output_bard.json")
    told = json.loads((REAL / "results" / "bard" / "scores_bard.json").read_text(encoding="utf-8"))
    assert (round(scores.overall, 2), scores.n) == (float(told.pop("average")["accuracy"]), 1000)
    categories = {name: score["accuracy"] for group in told.values() for name, score in group.items()}
    assert {name: f"{score:.2f}" for name, score in scores.by_category.items()} == categories


@published
def test_the_order_of_a_published_file_does_not_count() -> None:
    outputs = read_outputs(BENCHMARK, REAL / "results" / "bard" / "output_bard.json")
    one, other = score_outputs(BENCHMARK, outputs), score_outputs(BENCHMARK, shuffled(outputs))
    assert one.by_category == pytest.approx(other.by_category, abs=0)
    assert one.overall == other.overall


@published
def test_the_recorded_verdicts_choose_the_rule_and_nothing_else() -> None:
    path = REAL / "results" / "bard" / "output_bard.json"
    assert score_file(BENCHMARK, path, rule=TODAY).overall == score_file(BENCHMARK, path, rule=FIRST).overall
    assert BENCHMARK.find_rule(read_outputs(BENCHMARK, path)) == FIRST


@pytest.mark.parametrize(
    ("extraction", "predicted"),
    [
        ("B", "six"),
        ("(b) anything", "six"),
        ("six", "six"),
        ("I think it is (C), or (A)", "seven"),
        ("sevn", "seven"),
        ("b", "six"),
        ("(Z)", "six"),
        ("", "six"),
    ],
)
def test_a_choice_is_the_one_lettered_or_the_nearest(extraction: str, predicted: str) -> None:
    choices = ("forty", "six", "seven")
    assert BENCHMARK.judge(item("text", "six", choices), "", extraction).parsed == predicted


@pytest.mark.parametrize(
    ("kind", "extraction", "today", "first"),
    [
        ("integer", "3", "3", "3"),
        ("integer", "3.4", "3", None),
        ("integer", " 3 ", "3", "3"),
        ("integer", "three", None, None),
        ("integer", "1e999999", None, None),
        ("integer", "NaN", None, None),
        ("float", "1.24", "1.2", "1.2"),
        ("float", "1", "1.0", "1.0"),
        ("float", "$1.2", None, None),
        ("list", "[1, 2]", "[1, 2]", "[1, 2]"),
    ],
)
def test_the_two_versions_differ_in_whole_numbers(kind: str, extraction: str, today: str, first: str) -> None:
    asked = item(kind, "3", precision="1")
    assert [BENCHMARK.judge(asked, "", extraction, rule).parsed for rule in (TODAY, FIRST)] == [today, first]


@pytest.mark.parametrize(
    ("kind", "response", "predicted"),
    [
        ("integer", "3", "3"),
        ("integer", "The answer is 3.", "3"),
        ("integer", "There are 2 and 5, so the answer is 1,007 apples", "1007"),
        ("integer", "Answer: -4", "-4"),
        ("integer", "I cannot tell.", None),
        ("float", 'The answer is "1.20".', "1.2"),
        ("float", "**Answer:** 2.5 m", "2.5"),
    ],
)
def test_an_answer_is_taken_out_of_a_response_that_nobody_extracted(
    kind: str, response: str, predicted: str | None
) -> None:
    assert BENCHMARK.judge(item(kind, "3", precision="1"), response).parsed == predicted


def test_a_choice_is_taken_out_of_a_response() -> None:
    asked = item("text", "a right triangle", ("a square", "a right triangle"))
    responses = ["a right triangle", "(B)", "B", "The answer is (B) a right triangle.", "So the answer is **B**."]
    assert [BENCHMARK.judge(asked, response).score for response in responses] == [1.0] * 5


def test_the_rule_is_found_by_the_verdicts_of_a_file(tmp_path: Path) -> None:
    told = record(response="3.4", extraction="3.4")
    for verdict, rule in ((True, TODAY), (False, FIRST)):
        path = write(tmp_path, [{**told, "true_false": verdict}])
        assert BENCHMARK.find_rule(read_outputs(BENCHMARK, path)) == rule
    assert BENCHMARK.find_rule(read_outputs(BENCHMARK, write(tmp_path, [told]))) == FIRST
    predicted = write(tmp_path, [{**told, "prediction": "3"}])
    assert BENCHMARK.find_rule(read_outputs(BENCHMARK, predicted)) == TODAY


def test_numbers_and_nothing_may_stand_for_an_extraction(tmp_path: Path) -> None:
    records = [record(pid=str(at), extraction=value) for at, value in enumerate([3, 3.7, None, "3"])]
    outputs = read_outputs(BENCHMARK, write(tmp_path, records))
    assert [output.extraction for output in outputs] == ["3", "3", "None", "3"]


def test_outputs_without_answers_take_them_from_the_gold_beside(tmp_path: Path) -> None:
    write(tmp_path / "data", [record()], "testmini.json")
    path = write(tmp_path / "results" / "model", [{"pid": "1", "extraction": "3"}])
    scores = score_file(BENCHMARK, path)
    assert (scores.overall, scores.by_category["math word problem"]) == (100.0, 100.0)
    assert score_file(BENCHMARK, path, tmp_path).overall == 100.0


def test_broken_records_are_told_and_their_neighbours_kept(tmp_path: Path) -> None:
    path = tmp_path / "output.json"
    whole = json.dumps(record(extraction="3"))
    path.write_text(f'{{"1": {whole}, "2": {{"pid": }}, "3": {json.dumps(record(pid="3"))}, "4": {whole}}}')
    found = list(BENCHMARK.outputs(path, None))
    assert len(found) == 4
    broken, empty = problems_of(list(found))
    assert broken.startswith("output.json")
    assert empty == "3: the record has no response and no extraction"


def test_a_file_without_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="no record has a response or an extraction"):
        BENCHMARK.outputs(write(tmp_path, [record()]), None)
    with pytest.raises(ScoringError, match=r"gold answers of MathVista .* are needed"):
        list(BENCHMARK.outputs(write(tmp_path / "a" / "b" / "c" / "d", [{"pid": "1", "extraction": "3"}]), None))


def test_items_come_from_the_publishers_file_with_their_images(tmp_path: Path) -> None:
    choices = record(pid="2", image="images/2.jpg", choices=["six", "ten"], answer="six", question_type="multi_choice")
    write(tmp_path / "data", [record(), choices, record(pid="3", image="images/3.jpg")], "testmini.json")
    (tmp_path / "images").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "images" / name).write_bytes(encoded(photo(1, (40, 30))))
    one, other, missing = BENCHMARK.items(tmp_path)
    assert isinstance(one, Item)
    assert isinstance(other, Item)
    assert (one.gold, one.answer_type, one.images) == (("3",), "number", (tmp_path / "images" / "1.jpg",))
    assert (other.choices, other.answer_type) == (("six", "ten"), "option_text")
    assert one.groups["skills"] == ("algebraic reasoning", "logical reasoning")
    assert problems_of([missing]) == ["3: the image images/3.jpg is not there"]


def test_items_come_from_the_table_of_vlmevalkit_beside_the_folder(tmp_path: Path) -> None:
    picture = base64.b64encode(encoded(photo(1, (40, 30)))).decode()
    names = (
        "index",
        "question",
        "choices",
        "answer",
        "answer_option",
        "question_type",
        "answer_type",
        "skills",
        "image",
    )
    question = "Hint: Give the letter.\nQuestion: Which?\nChoices:\n(A) 2 m\n(B) 3 m"
    cells = (
        "7",
        f'"{question}"',
        "['2 m', '3 m']",
        "3 m",
        "B",
        "multi_choice",
        "text",
        "['logic', 'algebra']",
        picture,
    )
    (tmp_path / "MathVista_MINI.tsv").write_text("\t".join(names) + "\n" + "\t".join(cells) + "\n")
    (one,) = items_of(BENCHMARK, tmp_path / "mathvista")
    assert (one.id, one.question, one.gold, one.choices) == ("7", "Which?", ("3 m",), ("2 m", "3 m"))
    assert one.groups["skills"] == ("logic", "algebra")
    assert one.images == (encoded(photo(1, (40, 30))),)


def test_a_folder_without_the_benchmark_is_refused_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"testmini\.json.*AI4Math/MathVista"):
        BENCHMARK.items(tmp_path / "nothing")


def test_the_edit_distance_counts_letters() -> None:
    assert [edit_distance(*pair) for pair in (("", ""), ("abc", ""), ("kitten", "sitting"), ("é", "e"))] == [0, 3, 3, 1]
    assert nearest("x", ("ab", "cd")) == "ab"
