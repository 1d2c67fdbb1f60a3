"""MMMU's rule: published scores to the digit where the files are here, and its edges."""

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.scoring.benchmark import Item, Output, ScoringError
from mmat_dagster.scoring.mmmu import MMMU, parse_choice, parse_open
from tests.benchmark_scores import PUBLISHED, items_of, problems_of, read_outputs, score_file, score_outputs, shuffled
from tests.pictures import encoded, photo

REAL = PUBLISHED / "mmmu"
LLAVA = REAL / "example_outputs" / "llava1.5_13b"
published = pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")

BENCHMARK = MMMU()
CHOICES = ("a red fox", "a hen", "none", "all")


def choice(response: str, number: int = 1, subject: str = "Math", answer: str = "B") -> dict[str, Any]:
    letters = dict(zip("ABCD", CHOICES, strict=True))
    plain = {"id": f"validation_{subject}_{number}", "question_type": "multiple-choice", "answer": answer}
    return {**plain, "all_choices": list(letters), "index2ans": letters, "response": response}


def opened(*gold: str) -> Item:
    facts = {"question_type": "short-answer"}
    return Item(id="validation_Math_1", question="?", gold=gold, answer_type="number", facts=facts)


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


@published
@pytest.mark.parametrize("path", [LLAVA, LLAVA / "total_val_output.json"])
def test_the_published_outputs_score_what_the_publishers_script_prints(path: Path) -> None:
    scores = score_file(BENCHMARK, path)
    assert (round(scores.overall, 2), scores.n) == (36.67, 900)
    printed = {"Overall-Art and Design": 52.5, "Overall-Business": 22.67, "Overall-Science": 29.33}
    assert {name: round(scores.by_category[name], 2) for name in printed} == printed
    assert len(scores.by_category) == 36


@published
def test_the_draws_are_those_that_the_publisher_drew() -> None:
    parsed = {output.item.id: output.extraction for output in read_outputs(BENCHMARK, LLAVA / "total_val_output.json")}
    drawn = [output for output in read_outputs(BENCHMARK, LLAVA) if output.extraction is not None]
    assert [output.item.id for output in drawn] == ["validation_Design_4", "validation_Psychology_4"]
    assert [output.extraction for output in drawn] == [parsed[output.item.id] for output in drawn]


@published
def test_the_order_of_the_published_outputs_does_not_count() -> None:
    outputs = read_outputs(BENCHMARK, LLAVA)
    assert score_outputs(BENCHMARK, shuffled(outputs)).overall == score_outputs(BENCHMARK, outputs).overall


@published
def test_questions_beside_the_gold_are_items_with_images() -> None:
    items = items_of(BENCHMARK, REAL)
    assert len(items) == 21
    assert all(item.images and item.answer_type == "option_letter" for item in items)


def test_draws_do_not_depend_on_the_order_in_the_files(tmp_path: Path) -> None:
    records = [choice("no idea", number) for number in range(1, 31)]
    draws = []
    for name in ("one", "other"):
        write(tmp_path / name / "Math" / "output.json", random.Random(name).sample(records, 30))
        draws.append({each.item.id: each.extraction for each in read_outputs(BENCHMARK, tmp_path / name)})
    assert draws[0] == draws[1]
    expected = random.Random(42)
    assert [draws[0][each["id"]] for each in records] == [expected.choice("ABCD") for _ in records]


def test_what_a_student_leaves_open_is_drawn_by_the_question_alone() -> None:
    facts = {"question_type": "multiple-choice"}
    asked = [
        Item(
            id=f"validation_Art_{number}",
            question="?",
            gold=("A",),
            answer_type="option_letter",
            choices=CHOICES,
            facts=facts,
        )
        for number in range(400)
    ]
    scores = [BENCHMARK.judge(item, "no idea").score for item in asked]
    assert scores == [BENCHMARK.judge(item, "no idea").score for item in asked]
    assert 60 < sum(scores) < 140
    assert BENCHMARK.judge(asked[0], "no idea").parsed is None


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("(A) no, (C).", "C"),
        ("I say D because", "D"),
        ("(A) is right, B is not", "A"),
        ("b", None),
        ("B)", None),
        ("A.", "A"),
        ("what it shows is of course a hen", "B"),
        ("a hen", None),
        ("It may be a hen, but all in all it is a red fox", "A"),
        ("", None),
        ("(E)", None),
    ],
)
def test_a_choice_is_parsed_as_the_publisher_does(response: str, letter: str | None) -> None:
    assert parse_choice(response, CHOICES) == letter


@pytest.mark.parametrize(
    ("response", "golds", "score"),
    [
        ("36 watts", ("30",), 0.0),
        ("The voltage is 30 V.", ("30",), 1.0),
        ("so x = 1,249.001", ("1249",), 1.0),
        ("3.43e0", ("24/7", "3.43"), 1.0),
        ("It is in Tampa, of course.", ("Tampa", "Florida"), 1.0),
        ("c", ("C",), 1.0),
        ("cat", ("C",), 0.0),
        ("The answer is C", ("C",), 1.0),
        ("nan", ("nan",), 0.0),
        ("inf", ("30",), 0.0),
        ("", ("30",), 0.0),
    ],
)
def test_an_open_answer_is_judged_as_the_publisher_does(response: str, golds: tuple[str, ...], score: float) -> None:
    assert BENCHMARK.judge(opened(*golds), response).score == score


def test_an_open_response_may_mean_its_key_phrases_and_their_numbers() -> None:
    assert parse_open("First, 7 is odd.\nSo the result is 12 or -2.5") == ["odd.", "12 or -2.5", 12.0, -2.5]


def test_parsed_answers_need_the_gold(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "b" / "c" / "total.json", {"validation_Math_1": "B", "validation_Math_2": "30.0 V"})
    with pytest.raises(ScoringError, match="gold answers of MMMU"):
        list(BENCHMARK.outputs(path, None))
    gold = {
        "validation_Math_1": {"question_type": "multiple-choice", "ground_truth": "B"},
        "validation_Math_2": {"question_type": "short-answer", "ground_truth": ["30", "thirty"]},
    }
    scores = score_file(BENCHMARK, path, write(tmp_path / "answer_dict_val.json", gold))
    assert (scores.overall, scores.by_category) == (100.0, {"Overall-Science": 100.0, "Math": 100.0})


def test_broken_records_are_told_and_their_neighbours_kept(tmp_path: Path) -> None:
    nothing = {**choice("B", 2), "answer": None}
    text = json.dumps([choice("B"), nothing]).removesuffix("]") + ', {"id": }, ' + json.dumps(choice("A", 3)) + "]"
    path = tmp_path / "Math" / "output.json"
    path.parent.mkdir()
    path.write_text(text)
    found = list(BENCHMARK.outputs(tmp_path, None))
    assert [each.item.id for each in found if isinstance(each, Output)] == ["validation_Math_1", "validation_Math_3"]
    assert problems_of(list(found))[0].endswith("the record has no answer")
    assert len(found) == 4


def test_the_oldest_outputs_tell_subject_and_number_apart(tmp_path: Path) -> None:
    record = {name: value for name, value in choice("(B)").items() if name != "id"}
    write(tmp_path / "Electronics" / "output.json", [{"No": "14", **record}])
    (output,) = read_outputs(BENCHMARK, tmp_path)
    assert (output.item.id, output.item.groups["subject"]) == ("validation_Electronics_14", ("Electronics",))


def test_a_folder_without_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="holds no outputs"):
        BENCHMARK.outputs(tmp_path, None)


def test_the_table_of_vlmevalkit_gives_its_validation_split(tmp_path: Path) -> None:
    picture = base64.b64encode(encoded(photo(1, (40, 30)))).decode()
    names = ("index", "id", "question", "A", "B", "C", "answer", "category", "split", "image")
    rows = [
        ("1", "validation_Art_1", "Look at <image 1>. Which?", "nan", "x", "", "B", "Art", "validation", picture),
        ("2", "dev_Art_1", "Which?", "x", "y", "", "B", "Art", "dev", picture),
    ]
    (tmp_path / "MMMU_DEV_VAL.tsv").write_text("\n".join("\t".join(row) for row in (names, *rows)) + "\n")
    (one,) = items_of(BENCHMARK, tmp_path / "mmmu")
    assert (one.id, one.question, one.choices, one.gold) == (
        "validation_Art_1",
        "Look at. Which?",
        ("nan", "x"),
        ("B",),
    )
    assert one.groups == {"domain": ("Overall-Art and Design",), "subject": ("Art",)}


def test_options_and_answers_may_be_lists_written_out(tmp_path: Path) -> None:
    image = {"image_1": "1.png", "image_2": None}
    (tmp_path / "1.png").write_bytes(encoded(photo(1, (40, 30))))
    records = [
        {"id": "validation_Math_1", "question": "?", "options": "['2 m', '3 m']", "answer": "A", **image},
        {
            "id": "validation_Math_2",
            "question": "?",
            "options": "[]",
            "answer": "['24/7', '3.429']",
            "question_type": "open",
            **image,
        },
    ]
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    one, other = items_of(BENCHMARK, tmp_path)
    assert (one.choices, one.answer_type) == (("2 m", "3 m"), "option_letter")
    assert (other.choices, other.gold, other.facts) == ((), ("24/7", "3.429"), {"question_type": "short-answer"})
