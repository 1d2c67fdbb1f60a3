"""HallusionBench: its three accuracies, beside a plain reading of its publisher's script and of VLMEvalKit's."""

import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.scoring.benchmark import Item, ScoringError, Unreadable
from mmat_dagster.scoring.hallusionbench import GPT_CHECK, YES_NO, HallusionBench, take_yes_no
from tests.benchmark_scores import PUBLISHED, items_of, read_outputs, score_outputs
from tests.scoring_tables import as_base64, picture, write_json, write_tsv

FOLDER = PUBLISHED / "hallusionbench"
published = pytest.mark.skipif(not FOLDER.is_dir(), reason="the published data is not here")


def record(place: str, answer: str, **more: object) -> dict[str, Any]:
    """Return a question by category, subcategory, set, figure and question: `VS chart 0 1 0`."""
    category, subcategory, set_id, figure_id, question_id = place.split()
    has_none = category == "VS" and figure_id == "0"
    return {
        "category": category,
        "subcategory": subcategory,
        "visual_input": "0" if has_none else "1",
        "set_id": set_id,
        "figure_id": figure_id,
        "question_id": question_id,
        "question": f"Is {place}?",
        "gt_answer": answer,
        "filename": None if has_none else f"./{category}/{subcategory}/{set_id}_{figure_id}.png",
        **more,
    }


def as_row(place: str) -> Row:
    return Row(fields=record(place, "1"), name="HallusionBench.json:1", number=1)


def share(records: list[dict[str, Any]], right: Callable[[dict[str, Any]], bool], *by: str) -> float:
    """Return the share in percent of the groups of records of which all are right."""
    groups = defaultdict(list)
    for one in records:
        groups[tuple(one[name] for name in by)].append(right(one))
    return 100 * sum(map(all, groups.values())) / len(groups)


def is_right(one: dict[str, Any]) -> bool:
    """Judge a check of GPT-4 as the publisher's script does."""
    is_without = one["category"] == "VS" and one["figure_id"] == "0"
    return one["gpt4v_output_gpt_check"] in (("1", "2") if is_without else ("1",))


@published
def test_checked_answers_score_as_by_the_publishers_script(tmp_path: Path) -> None:
    draw = random.Random(7)
    records = json.loads((FOLDER / "HallusionBench.json").read_text("utf-8"))
    for one in records:
        one |= {"model_prediction": "..", "gpt4v_output_gpt_check": draw.choices("012", (1, 5, 1))[0]}
    for category in ("VD", "VS"):
        write_json(
            tmp_path / f"hallusion_output_{category}_model.json",
            [one for one in records if one["category"] == category],
        )
    scores = score_outputs(HallusionBench(), read_outputs(HallusionBench(), tmp_path))
    pair = ("category", "subcategory", "set_id", "question_id")
    figure = ("category", "subcategory", "set_id", "figure_id")
    expected = {
        "aAcc": share(records, is_right, *figure, "question_id"),
        "fAcc": share(
            [one for one in records if one["category"] == "VD" or one["figure_id"] != "0"], is_right, *figure
        ),
        "qAcc": share(records, is_right, *pair),
        "easy": share([one for one in records if one["figure_id"] == "0"], is_right, *pair),
        "hard": share([one for one in records if one["figure_id"] != "0"], is_right, *pair),
    }
    assert {name: scores.metrics[name] for name in expected} == pytest.approx(expected)
    assert scores.overall == pytest.approx((expected["aAcc"] + expected["fAcc"] + expected["qAcc"]) / 3)
    assert scores.n == 1129


@published
def test_every_published_answer_finds_its_question_beside_it() -> None:
    outputs = read_outputs(HallusionBench(), FOLDER / "HallusionBench_result_sample.json")
    assert len(outputs) == 254
    assert HallusionBench().find_rule(outputs) == YES_NO


@published
def test_questions_without_a_figure_are_items_where_no_image_is_there() -> None:
    found = list(HallusionBench().items(FOLDER))
    assert sum(isinstance(each, Item) for each in found) == 178
    assert sum(isinstance(each, Unreadable) for each in found) == 1129 - 178


@published
def test_the_published_overall_is_the_mean_of_the_three() -> None:
    for row in json.loads((FOLDER / "leaderboard.json").read_text("utf-8")):
        assert abs((row["aAcc"] + row["fAcc"] + row["qAcc"]) / 3 - row["overall"]) < 0.1


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("Yes", "Yes"),
        ("No, it is not.", "No"),
        ("yes, it is!", "Yes"),
        ("It is (no).", "No"),
        ("Yes and no", None),
        ("I cannot tell", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_yes_or_no_must_stand_alone(response: str, answer: str | None) -> None:
    assert take_yes_no(response) == answer


def test_unclear_is_right_only_where_there_is_no_figure() -> None:
    without, with_one = (HallusionBench().item_of(as_row(place)) for place in ("VS map 0 0 0", "VD map 0 0 0"))
    checks = [
        HallusionBench().judge(item, "", check, GPT_CHECK).score for item in (without, with_one) for check in "012"
    ]
    assert checks == [0.0, 1.0, 1.0, 0.0, 1.0, 0.0]


def test_vlmevalkits_table_counts_vd_and_vs_together(tmp_path: Path) -> None:
    said = {"VD_ocr_1_0_1_0": "Yes", "VS_ocr_1_0_1_1": "No", "VD_ocr_1_0_1_2": "No", "VD_ocr_1_0_2_0": "maybe"}
    rows: list[dict[str, object]] = [
        {
            "index": index,
            "category": index[:2],
            "l2-category": "ocr",
            "question": "Is it?",
            "answer": "Yes" if index.endswith("0") else "No",
            "prediction": prediction,
        }
        for index, prediction in said.items()
    ]
    scores = score_outputs(
        HallusionBench(), read_outputs(HallusionBench(), write_tsv(tmp_path / "m_HallusionBench.tsv", rows))
    )
    assert {name: scores.metrics[name] for name in ("aAcc", "fAcc")} == {"aAcc": 75.0, "fAcc": 50.0}
    assert scores.metrics["qAcc"] == pytest.approx(200 / 3)


def test_items_with_their_images(tmp_path: Path) -> None:
    records = [record("VS chart 0 0 0", "0"), record("VS chart 0 1 0", "1")]
    write_json(tmp_path / "json" / "HallusionBench.json", records)
    image = tmp_path / "json" / "hallusion_bench" / "VS" / "chart" / "0_1.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(picture())
    row = {"index": "VS_chart_1_0_1_0", "category": "VS", "l2-category": "chart", "question": "Is it?", "answer": "Yes"}
    write_tsv(tmp_path / "tsv" / "HallusionBench.tsv", [{**row, "image": as_base64(picture())}])
    bare, shipped = items_of(HallusionBench(), tmp_path / "json")
    (kept,) = items_of(HallusionBench(), tmp_path / "tsv")
    assert (bare.images, bare.gold, shipped.images, shipped.gold) == ((), ("No",), (image,), ("Yes",))
    assert (kept.id, kept.gold, kept.images) == (shipped.id, shipped.gold, (picture(),))


def test_an_answer_to_another_question_of_that_number_is_told(tmp_path: Path) -> None:
    write_json(tmp_path / "HallusionBench.json", [record("VD map 0 0 0", "1"), record("VD map 0 0 1", "1")])
    answers = [record("VD map 0 0 0", "", model_prediction="Yes"), record("VD map 0 0 1", "", model_prediction="Yes")]
    answers[0]["question"] = "Was it?"
    found = list(HallusionBench().outputs(write_json(tmp_path / "result.json", answers), None))
    assert "the gold has none for 'VD_map_0_0_0'" in str(found[0])
    assert not isinstance(found[1], Unreadable)


def test_a_missing_file_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"HallusionBench\.tsv.*tianyi-lab/HallusionBench"):
        HallusionBench().items(tmp_path)
