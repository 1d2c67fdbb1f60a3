"""The readers beside a plain reading of what the publishers ship: every record is there, field by field as published.

Nothing of the engine takes part in the expectation but the names of its fields. Skipped where the data is not here.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmat_dagster.schema import SourceName, SourceRecord
from mmat_dagster.sources import READERS, check_layout

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "sources"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")


def all_records(name: SourceName) -> list[SourceRecord]:
    """Return every record of a source; fail where one is lost."""
    found = list(READERS[name].read(check_layout(name, REAL / name)))
    assert [one for one in found if not isinstance(one, SourceRecord)] == []
    return [one for one in found if isinstance(one, SourceRecord)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_tabmwp() -> None:
    published = json.loads((REAL / "tabmwp" / "problems_dev1k.json").read_text(encoding="utf-8"))
    records = all_records("tabmwp")
    assert len(records) == len(published) == 1000
    for record, (pid, problem) in zip(records, published.items(), strict=True):
        assert record.id == f"tabmwp/{pid}"
        assert (record.question, record.answers) == (problem["question"], (problem["answer"],))
        assert (list(record.choices), record.unit) == (problem["choices"] or [], problem["unit"] or None)
        notes = record.annotations
        assert (notes.table, notes.table_title) == (problem["table"], problem["table_title"])
        assert (notes.reasoning, record.part) == (problem["solution"], problem["split"])
        assert record.images == (f"tables/{pid}.png",)
        assert (REAL / "tabmwp" / "tables" / f"{pid}.png").is_file()
        assert (record.answer_type == "option_text") == (problem["ques_type"] == "multi_choice")
        assert (record.answer_type == "number") == (problem["ans_type"] in {"integer_number", "decimal_number"})


def test_tabmwp_holds_out_no_published_training_or_development_problem() -> None:
    splits = json.loads((REAL / "tabmwp" / "splits.json").read_text(encoding="utf-8"))
    read = {int(record.id.removeprefix("tabmwp/")) for record in all_records("tabmwp")}
    assert read <= set(splits["dev"])
    assert read.isdisjoint(splits["test"])


def test_visual_cot() -> None:
    folder = REAL / "visual_cot"
    published = lines(folder / "viscot_dataset" / "sroie_cot_train.jsonl")
    records = all_records("visual_cot")
    assert len(records) == len(published) == 78
    for number, (record, line) in enumerate(zip(records, published, strict=True), start=1):
        assert (record.id, record.part) == (f"visual_cot/sroie/{number}", "sroie")
        assert (record.question, record.answers) == (line["question"], (line["answer"],))
        assert record.images == (f"cot/sroie/{line['image']}",)
        assert (folder / "cot" / "sroie" / line["image"]).is_file()
        assert [[box.x1, box.y1, box.x2, box.y2] for box in record.annotations.boxes] == line["bboxs"]
    assert len({record.images for record in records}) == 20


def test_the_cauldron() -> None:
    published = pd.read_parquet(REAL / "the_cauldron" / "intergps" / "train-00000-of-00001.parquet")
    records = all_records("the_cauldron")
    assert len(records) == len(published) == 30
    for record, images, texts in zip(records, published["images"], published["texts"], strict=True):
        (text,) = texts
        question, _, listed = text["user"].partition("\nChoices:\n")
        *choices, instruction = listed.split("\n")
        assert instruction == "Answer with the letter."
        assert (record.question, record.part) == (question, "intergps")
        assert [f"{letter}: {choice}" for letter, choice in zip("ABCD", record.choices, strict=True)] == [
            choice.replace(". ", ": ", 1) if choice[1] == "." else choice for choice in choices
        ]
        assert text["assistant"] == f"Answer: {record.answers[0]}"
        assert record.images == tuple(image["bytes"] for image in images)


def test_infoseek() -> None:
    folder = REAL / "infoseek"
    published = lines(folder / "infoseek_train.jsonl")
    records = all_records("infoseek")
    assert len(records) == len(published) == 4
    for record, line in zip(records, published, strict=True):
        assert record.id == f"infoseek/{line['data_id']}"
        assert (record.question, list(record.answers)) == (line["question"], line["answer"])
        (image,) = record.images
        assert isinstance(image, str)
        assert Path(image).stem == line["image_id"]
        assert (folder / image).is_file()
        (judged,) = line["answer_eval"]
        bounds = None if isinstance(judged, str) else tuple(judged["range"])
        assert (record.number_range, record.answer_type == "number") == (bounds, bounds is not None)
