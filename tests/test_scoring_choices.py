"""MMStar, AI2D and RealWorldQA: their published forms, VLMEvalKit's tables, their rules."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmat_dagster.scoring.ai2d import AI2D
from mmat_dagster.scoring.benchmark import Benchmark, Item, ScoringError, Unreadable
from mmat_dagster.scoring.mmstar import FIRST_LETTER, MMStar
from mmat_dagster.scoring.option_letters import RULES
from mmat_dagster.scoring.realworldqa import RealWorldQA
from tests.benchmark_scores import items_of, read_outputs, score_outputs
from tests.scoring_tables import as_base64, picture, write_json, write_tsv, write_xlsx

ASKED = "Which one is it?\nOptions: A: a dog, or two, B: a cat, C: none"
CHOICES = ("a dog, or two", "a cat", "none")
MMSTAR: dict[str, object] = {
    "index": 0,
    "question": ASKED,
    "answer": "B",
    "category": "math",
    "l2_category": "geometry",
    "bench": "MMMU",
}


def write_parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def said(*predictions: str, **more: object) -> list[dict[str, object]]:
    return [{**MMSTAR, "index": number, "prediction": text, **more} for number, text in enumerate(predictions)]


def test_mmstar_from_the_hub_and_as_a_table(tmp_path: Path) -> None:
    write_parquet(tmp_path / "hub" / "mmstar.parquet", [{**MMSTAR, "image": picture()}])
    columns = dict(zip("ABC", CHOICES, strict=True))
    write_tsv(tmp_path / "lmu" / "MMStar.tsv", [{**MMSTAR, **columns, "image": as_base64(picture())}])
    for folder in ("hub", "lmu"):
        (item,) = items_of(MMStar(), tmp_path / folder)
        assert (item.id, item.question, item.choices, item.gold) == ("0", "Which one is it?", CHOICES, ("B",))
        assert (item.images, item.groups) == ((picture(),), {"category": ("math",), "l2_category": ("geometry",)})


@pytest.mark.parametrize("name", ["m.xlsx", "m.tsv", "m.csv", "m.json", "m.jsonl"])
def test_mmstars_outputs_in_every_form(tmp_path: Path, name: str) -> None:
    rows = said("b", "(B) a cat", "option B", "The answer is B.", "It is B", "C")
    write = {"xlsx": write_xlsx, "tsv": write_tsv, "csv": write_tsv}.get(name.partition(".")[2], write_json)
    outputs = read_outputs(MMStar(), write(tmp_path / name, rows))
    assert MMStar().find_rule(outputs) == FIRST_LETTER
    assert score_outputs(MMStar(), outputs).overall == pytest.approx(400 / 6)
    by_inference = score_outputs(MMStar(), outputs, RULES[0])
    assert by_inference.overall == pytest.approx(400 / 6)
    assert by_inference.by_category == {"math": by_inference.overall, "geometry": by_inference.overall}


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("B", 1),
        (" b)", 1),
        ("(b", 1),
        ("Option B", 1),
        ("the answer is b", 1),
        ("Bear", 1),
        ("the answer: b", 0),
        ("", 0),
        ("(", 0),
    ],
)
def test_mmstars_own_rule_wants_the_letter_first(response: str, right: int) -> None:
    item = Item(id="0", question="", gold=("B",), answer_type="option_letter", choices=CHOICES)
    assert MMStar().judge(item, response, None, FIRST_LETTER).score == right


def test_the_version_is_told_by_the_verdicts_of_a_table(tmp_path: Path) -> None:
    columns = dict(zip("ABC", CHOICES, strict=True))
    late = "B is what I would choose here since the picture shows it quite well"
    for hit, rule in ((1, RULES[0]), (0, RULES[1])):
        path = write_tsv(tmp_path / f"{hit}.tsv", said(late, **columns, hit=hit))
        assert MMStar().find_rule(read_outputs(MMStar(), path)) == rule


def test_what_a_model_took_a_response_for_stands_in_the_log(tmp_path: Path) -> None:
    columns = dict(zip("ABC", CHOICES, strict=True))
    path = tmp_path / "m.json"
    write_json(path, said("the animal that purrs", **columns, hit=1, log="Match Log: B. "))
    assert score_outputs(MMStar(), read_outputs(MMStar(), path)).overall == 100.0
    failed = "Match Log: Failed in Prefetch, no GPT-based answer matching under `exact_matching` policy.. "
    write_json(path, said("the animal that purrs", **columns, hit=0, log=failed))
    assert [output.extraction for output in read_outputs(MMStar(), path)] == [None]


def test_ai2d_from_the_hub_and_as_a_table(tmp_path: Path) -> None:
    asked = {"question": "What is c?", "image": {"bytes": picture(), "path": None}}
    write_parquet(
        tmp_path / "hub" / "data" / "test-0.parquet", [{**asked, "options": ["3", "2", "1", "0"], "answer": "1"}]
    )
    columns = dict(zip("ABCD", ["3", "2", "1", "0"], strict=True))
    row = {"index": 5, "question": "What is c?", **columns, "answer": "B", "category": "food web"}
    sharing = {**row, "index": 6, "image": "5"}
    write_tsv(tmp_path / "lmu" / "AI2D_TEST.tsv", [{**row, "image": as_base64(picture())}, sharing])
    (shipped,) = items_of(AI2D(), tmp_path / "hub")
    first, second = items_of(AI2D(), tmp_path / "lmu")
    assert (shipped.gold, shipped.choices, shipped.images) == (("B",), ("3", "2", "1", "0"), (picture(),))
    assert (first.gold, first.groups, first.images) == (("B",), {"category": ("food web",)}, second.images)
    assert AI2D().judge(first, "2").score == AI2D().judge(first, "(B)").score == 1.0


def test_realworldqa_from_the_hub_with_and_without_options(tmp_path: Path) -> None:
    telling = "\n\nPlease answer directly with only the letter of the correct option and nothing else."
    rows: list[dict[str, object]] = [
        {"image": {"bytes": picture()}, "question": f"Where is it?\n\nA. Left\nB. Right{telling}", "answer": "B"},
        {
            "image": {"bytes": picture()},
            "question": "How many cars? Please answer directly with a single word or number.",
            "answer": "3",
        },
    ]
    write_parquet(tmp_path / "data" / "test-0.parquet", rows)
    choice, number = items_of(RealWorldQA(), tmp_path)
    assert (choice.question, choice.choices, choice.gold) == ("Where is it?", ("Left", "Right"), ("B",))
    assert (number.question, number.choices, number.gold, number.answer_type) == (
        "How many cars?",
        (),
        ("3",),
        "number",
    )
    assert [RealWorldQA().judge(number, text).score for text in ("3", "Three.", "33", "")] == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("benchmark", [MMStar(), AI2D(), RealWorldQA()], ids=lambda one: one.name)
def test_missing_and_broken_files(tmp_path: Path, benchmark: Benchmark) -> None:
    with pytest.raises(ScoringError, match=r"LMUData.* on the hub"):
        benchmark.items(tmp_path)
    answered = {**MMSTAR, "A": "x", "B": "y", "image": as_base64(picture())}
    rows = [
        answered,
        {**answered, "question": ""},
        {**answered, "answer": "seven"},
        {**answered, "image": "gone.png"},
        answered,
    ]
    write_tsv(
        tmp_path / {"mmstar": "MMStar", "ai2d": "AI2D_TEST", "realworldqa": "RealWorldQA"}[benchmark.name] / "t.tsv",
        rows,
    )
    (tmp_path / "t.tsv").unlink(missing_ok=True)
    table = next(tmp_path.rglob("t.tsv"))
    table.rename(table.with_name(f"{table.parent.name}.tsv"))
    found = list(benchmark.items(tmp_path))
    assert [type(each) for each in found] == [Item, Unreadable, Unreadable, Unreadable, Item]
    assert "the image gone.png is not there" in str(found[3])


def test_outputs_without_answers_need_the_gold(tmp_path: Path) -> None:
    bare = write_json(tmp_path / "out" / "m.json", [{"index": 0, "question": ASKED, "prediction": "B"}])
    with pytest.raises(ScoringError, match="gold answers of MMStar are needed"):
        list(MMStar().outputs(bare, None))
    gold = write_tsv(tmp_path / "MMStar.tsv", [{**MMSTAR, "image": ""}])
    assert score_outputs(MMStar(), read_outputs(MMStar(), bare)).overall == 100.0
    assert score_outputs(MMStar(), read_outputs(MMStar(), bare, gold)).overall == 100.0
