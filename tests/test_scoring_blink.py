"""BLINK is scored as its publisher does, to the digit, from predictions, from outputs by task and from VLMEvalKit's."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmat_dagster.scoring.benchmark import Item, Output, ScoringError, Unreadable
from mmat_dagster.scoring.blink import Blink, take_option
from tests.benchmark_scores import PUBLISHED, items_of, read_outputs, score_outputs
from tests.scoring_tables import as_base64, picture, write_json, write_tsv

FOLDER = PUBLISHED / "blink"
published = pytest.mark.skipif(not FOLDER.is_dir(), reason="the published data is not here")


def item_with_gold(gold: str) -> Item:
    return Item(
        id="val_Counting_1", question="", gold=(gold,), answer_type="option_letter", groups={"task": ("Counting",)}
    )


GOLD = {"val_Counting_1": "(A)", "val_Counting_2": "(B)", "val_IQ_Test_1": "(D)"}


@published
@pytest.mark.parametrize(("model", "accuracy"), [("GPT4o", 60.04), ("GPT4V", 51.09), ("llava_v1.5_7b", 37.13)])
@pytest.mark.parametrize("is_given", [True, False], ids=["gold given", "gold found beside"])
def test_predictions_have_the_published_accuracy(model: str, accuracy: float, is_given: bool) -> None:
    gold = FOLDER / "eval" / "val_answers.json" if is_given else None
    outputs = read_outputs(Blink(), FOLDER / "eval" / "saved_val_predictions" / f"{model}.json", gold)
    scores = score_outputs(Blink(), outputs)
    assert (round(scores.overall, 2), scores.n, len(scores.by_category)) == (accuracy, 1901, 14)


@published
@pytest.mark.parametrize("model", ["GPT4o", "llava_v1.5_13b"])
def test_outputs_by_task_score_as_the_predictions_in_them(model: str) -> None:
    folder = FOLDER / "eval" / "saved_outputs" / model
    by_hand: dict[str, float] = {}
    for file in folder.iterdir():
        said = json.loads(file.read_text("utf-8"))["val"]
        by_hand[file.stem.replace(" ", "_")] = 100 * sum(one["answer"] == one["prediction"] for one in said) / len(said)
    assert dict(score_outputs(Blink(), read_outputs(Blink(), folder)).by_category) == pytest.approx(by_hand)


@published
@pytest.mark.parametrize("model", ["GPT4o", "llava_v1.5_13b"])
def test_every_published_extraction_is_found_again_in_its_response(model: str) -> None:
    outputs = read_outputs(Blink(), FOLDER / "eval" / "saved_outputs" / model)
    assert [each for each in outputs if take_option(each.response) != each.extraction] == []


@published
def test_questions_as_visual_sketchpad_keeps_them_are_items() -> None:
    items = {item.id: item for item in items_of(Blink(), FOLDER)}
    assert len(items) == 60
    truck = items["val_Spatial_Relation_87"]
    assert (truck.question, truck.choices, truck.gold) == ("Is the truck over the cat?", ("yes", "no"), ("(A)",))
    assert truck.groups == {"task": ("Spatial_Relation",)}
    assert [len(item.images) for item in items.values()] == [1] * 60


@published
def test_published_gold_is_the_gold_of_the_items() -> None:
    gold = json.loads((FOLDER / "eval" / "val_answers.json").read_text("utf-8"))
    assert all(item.gold == (gold[item.id],) for item in items_of(Blink(), FOLDER))


def test_the_score_is_the_mean_of_the_tasks(tmp_path: Path) -> None:
    write_json(tmp_path / "eval" / "val_answers.json", GOLD)
    said = write_json(
        tmp_path / "eval" / "preds" / "m.json",
        {"val_Counting_1": "(A)", "val_Counting_2": "(C)", "val_IQ_Test_1": "(D)"},
    )
    scores = score_outputs(Blink(), read_outputs(Blink(), said))
    assert (scores.overall, scores.by_category) == (75.0, {"Counting": 50.0, "IQ_Test": 100.0})
    assert scores.metrics["accuracy per question"] == pytest.approx(200 / 3)


def test_what_a_file_of_predictions_leaves_out_is_wrong(tmp_path: Path) -> None:
    gold = write_json(tmp_path / "val_answers.json", GOLD)
    said = write_json(tmp_path / "elsewhere" / "m.json", {"val_Counting_1": "(A)", "test_Counting_1": "(A)"})
    scores = score_outputs(Blink(), read_outputs(Blink(), said, gold))
    assert (scores.overall, scores.n) == (25.0, 3)


def test_an_extraction_must_be_the_answer_letter_by_letter() -> None:
    item = item_with_gold("(C)")
    assert Blink().judge(item, "", "(C) Point C").score == 0.0
    assert Blink().judge(item, "", "(C)").score == 1.0


def test_hidden_answers_and_failed_extractions(tmp_path: Path) -> None:
    records = [
        {"idx": "val_Counting_1", "answer": "(A)", "full_prediction": "(A)", "prediction": None},
        {"idx": "val_Counting_2", "answer": "(B)", "full_prediction": "It is (B).\n\n(B)", "prediction": "(B)"},
    ]
    hidden = [{"idx": "test_Counting_1", "answer": "hidden", "full_prediction": "(A)", "prediction": "(A)"}]
    path = write_json(tmp_path / "Counting.json", {"val": records, "test": hidden})
    assert score_outputs(Blink(), read_outputs(Blink(), path)).overall == 50.0


@pytest.mark.parametrize(
    ("response", "option"),
    [
        ("B", "(B)"),
        ("(D)", "(D)"),
        ("(A) is near, (B) is far.\n\nSo it is (B) then", "(B)"),
        ("(A) is near.\n\nNo letter here", "(A)"),
        ("<s> A is closer", "(A)"),
        ("Point B", "(B)"),
        ("yes", "(A)"),
        ("(A) or (B)", None),
        ("Cannot determine the answer", None),
        ("", None),
        ("dot", None),
    ],
)
def test_the_option_is_taken_out_of_a_response(response: str, option: str | None) -> None:
    assert take_option(response, ("yes", "no", "maybe", "never")) == option


def test_published_parquet_and_vlmevalkits_table_give_the_same_item(tmp_path: Path) -> None:
    record = {
        "idx": "val_Jigsaw_1",
        "sub_task": "Jigsaw",
        "question": "Which fits?",
        "choices": ["one", "two"],
        "answer": "(B)",
    }
    images = {f"image_{number}": {"bytes": picture(number), "path": None} for number in (1, 2)}
    hidden = {**record, "idx": "test_Jigsaw_1", "answer": "hidden"}
    folder = tmp_path / "hub" / "Jigsaw"
    folder.mkdir(parents=True)
    prompt = "Which fits?\nSelect from the following choices.\n(A) one\n(B) two"
    rows = [{**one, "prompt": prompt, **images, "image_3": None} for one in (record, hidden)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "val-00000-of-00001.parquet")
    images_told = str([as_base64(picture(1)), as_base64(picture(2))])
    table = {
        "index": 0,
        "question": "Which fits?",
        "image": images_told,
        "A": "one",
        "B": "two",
        "answer": "B",
        "category": "Jigsaw",
    }
    write_tsv(tmp_path / "lmu" / "BLINK.tsv", [table])
    (shipped,), (kept,) = items_of(Blink(), tmp_path / "hub"), items_of(Blink(), tmp_path / "lmu")
    assert (shipped.id, shipped.groups, shipped.gold, len(shipped.images)) == (
        "val_Jigsaw_1",
        {"task": ("Jigsaw",)},
        ("(B)",),
        2,
    )
    assert (kept.question, kept.choices, kept.gold, kept.images) == (
        shipped.question,
        shipped.choices,
        shipped.gold,
        shipped.images,
    )


def test_missing_files_are_told_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"holds nothing of BLINK.*BLINK\.tsv.*BLINK-Benchmark/BLINK"):
        Blink().items(tmp_path)
    said = write_json(tmp_path / "m.json", {"val_Counting_1": "(A)"})
    with pytest.raises(ScoringError, match=r"val_answers\.json is not beside it"):
        Blink().outputs(said, None)
    with pytest.raises(ScoringError, match="no file or folder"):
        Blink().outputs(tmp_path / "absent.json", None)


def test_a_broken_record_costs_itself_only(tmp_path: Path) -> None:
    lines = [
        '{"idx": "val_Counting_1", "answer": "(A)", "prediction": "(A)"}',
        "{broken",
        '{"prediction": "(A)", "answer": "(A)"}',
    ]
    path = tmp_path / "Counting.jsonl"
    path.write_text("\n".join([*lines, lines[0].replace("_1", "_2")]), "utf-8")
    found = list(Blink().outputs(path, None))
    assert [type(each) for each in found] == [Output, Unreadable, Unreadable, Output]
