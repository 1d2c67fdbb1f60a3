"""OCRBench counts the responses that hold an answer, by its publisher's script and as VLMEvalKit tells it."""

from pathlib import Path

import pytest

from mmat_dagster.scoring.benchmark import Item, ScoringError
from mmat_dagster.scoring.ocrbench import FORMULAS, OcrBench
from tests.benchmark_scores import items_of, read_outputs, score_outputs
from tests.scoring_tables import as_base64, picture, write_json, write_tsv, write_xlsx


def record(data_set: str, number: int, kind: str, answers: object, **more: object) -> dict[str, object]:
    path = f"{data_set}/{number}.png"
    asked = {"dataset_name": data_set, "id": number, "image_path": path, "question": "what is written in the image?"}
    return {**asked, "answers": answers, "type": kind, **more}


RECORDS = [
    record("IIIT5K", 1, "Regular Text Recognition", "CENTRE", predict='The word is "centre".'),
    record("IIIT5K", 2, "Regular Text Recognition", "FRIEND", predict="fiend"),
    record("ct80", 2, "Irregular Text Recognition", "Ox", predict="ox\nen"),
    record("docVQA", 7, "Doc-oriented VQA", ["12 May", "May 12"], predict="On MAY\n12."),
    record("HME100k", 3, FORMULAS, "x ^ { 2 } + Y", predict="x^{2}+ Y = 1"),
    record("HME100k", 4, FORMULAS, ["x + Y"], predict="x+y"),
    record("FUNSD", 5, "Key Information Extraction", [5], predict=None),
]


def test_the_score_is_how_many_are_right(tmp_path: Path) -> None:
    scores = score_outputs(OcrBench(), read_outputs(OcrBench(), write_json(tmp_path / "m.json", RECORDS)))
    assert (scores.overall, scores.n, OcrBench.full_marks) == (4.0, 7, 1000.0)
    assert scores.by_category == {
        "Regular Text Recognition": 1.0,
        "Irregular Text Recognition": 1.0,
        "Doc-oriented VQA": 1.0,
        FORMULAS: 1.0,
        "Key Information Extraction": 0.0,
    }
    assert (scores.metrics["Text Recognition"], scores.metrics["final score"]) == (2.0, 4.0)


@pytest.mark.parametrize("name", ["m.xlsx", "m.tsv"])
def test_vlmevalkits_tables_score_the_same(tmp_path: Path, name: str) -> None:
    rows: list[dict[str, object]] = [
        {
            "index": place,
            "question": one["question"],
            "answer": str(one["answers"] if isinstance(one["answers"], list) else [one["answers"]]),
            "category": one["type"],
            "prediction": one["predict"],
        }
        for place, one in enumerate(RECORDS)
    ]
    path = (write_xlsx if name.endswith("xlsx") else write_tsv)(tmp_path / name, rows)
    assert score_outputs(OcrBench(), read_outputs(OcrBench(), path)) == score_outputs(
        OcrBench(), read_outputs(OcrBench(), write_json(tmp_path / "m.json", RECORDS))
    )


def test_items_of_the_publisher_and_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "hub" / "OCRBench_Images" / "IIIT5K").mkdir(parents=True)
    image = tmp_path / "hub" / "OCRBench_Images" / "IIIT5K" / "1.png"
    image.write_bytes(picture())
    write_json(tmp_path / "hub" / "OCRBench.json", [record("IIIT5K", 1, "Regular Text Recognition", "CENTRE")])
    row = {
        "index": 0,
        "image": as_base64(picture()),
        "question": "what?",
        "answer": "['CENTRE']",
        "category": "Regular Text Recognition",
    }
    write_tsv(tmp_path / "lmu" / "OCRBench.tsv", [row])
    (shipped,), (kept,) = items_of(OcrBench(), tmp_path / "hub"), items_of(OcrBench(), tmp_path / "lmu")
    assert (shipped.id, shipped.gold, shipped.images) == ("IIIT5K_1", ("CENTRE",), (image,))
    assert (kept.gold, kept.groups, kept.images) == (shipped.gold, shipped.groups, (picture(),))


def test_an_empty_response_is_wrong() -> None:
    item = Item(id="0", question="", gold=("",), answer_type="word_or_phrase", groups={"type": ("Doc-oriented VQA",)})
    assert OcrBench().judge(item, " \n").score == 0.0


def test_a_missing_file_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"OCRBench\.tsv.*Yuliang-Liu/MultimodalOCR"):
        OcrBench().items(tmp_path)
