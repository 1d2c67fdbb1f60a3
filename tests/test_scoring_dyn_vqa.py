"""Dyn-VQA: F1-recall of OmniSearch's script, its words, its two queries."""

import sys
from pathlib import Path

import pytest

from mmat_dagster.scoring.benchmark import Item, Output, ScoringError, Unreadable
from mmat_dagster.scoring.dyn_vqa import JIEBA, DynVqa, DynVqaGolden
from mmat_dagster.scoring.english_words import cut_words
from tests.benchmark_scores import items_of, read_outputs, score_outputs
from tests.scoring_tables import picture, write_json

MARS = {
    "image_url": "https://example.org/images/image_2.jpeg?width=200",
    "question": "In what year did humans first land on this planet?",
    "question_id": "en2",
    "answer": ["目前还没有人类去过火星。", None, ["No humans have been to Mars yet.", 0]],
    "gloden_query": "What year did the first human land on Mars?",
}
PRIZE = {
    "image_url": "",
    "question": "该商场会员资格每年要花多少钱？",
    "question_id": "zh43",
    "answer": ["120 美元"],
    "golden_query": "Costco 会员资格每年要花多少钱？",
}


def recall(response: str, *gold: str, language: str = "en") -> float:
    item = Item(id="1", question="?", gold=gold, answer_type="free_text", groups={"language": (language,)})
    return DynVqa().judge(item, response).score


@pytest.mark.parametrize(
    ("response", "gold", "expected"),
    [
        ("No humans have been to Mars yet", "No humans have been to Mars yet.", 1.0),
        ("humans have landed on MARS", "No humans have been to Mars yet.", 3 / 7),
        ("the Porsche 944", "Porsche 944.", 1.0),
        # The response is written as the VQA evaluation does, the gold answer is not.
        ("two", "two", 0.0),
        ("two", "2", 1.0),
        ("The Beatles", "The Beatles", 1 / 2),
        ("He dont know", "he don't know", 1.0),
        ("$120 per year", "$120 per year", 1.0),
        ("a a", "b b", 0.0),
        ("dog", "dog dog", 1 / 2),
        ("", "", 0.0),
        ("?!", "?", 0.0),
    ],
)
def test_recall_of_english_words(response: str, gold: str, expected: float) -> None:
    assert recall(response, gold) == pytest.approx(expected)


def test_the_best_gold_answer_counts() -> None:
    assert recall("Sunak", "Rishi Sunak", "Sunak") == 1.0


def test_chinese_is_cut_into_characters_and_latin_into_words() -> None:
    assert recall("里希·苏纳克。", "里希·苏纳克", language="zh") == 1.0
    assert recall("苏纳克", "里希苏纳克", language="zh") == pytest.approx(3 / 5)
    # OmniSearch's script lowers the response only, where the question is Chinese.
    assert recall("Liz Truss", "Liz Truss", language="zh") == 0.0
    assert recall("120 美元", "每年 120 美元", language="zh") == pytest.approx(3 / 5)


def test_jieba_is_asked_for_where_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    item = Item(id="1", question="?", gold=("火星",), answer_type="free_text", groups={"language": ("zh",)})
    with pytest.raises(ScoringError, match="pip install jieba"):
        DynVqa().judge(item, "火星", rule=JIEBA)


def test_jieba_cuts_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Jieba:
        @staticmethod
        def cut(text: str) -> list[str]:
            return text.replace("火星", "|火星|").split("|")

    monkeypatch.setitem(sys.modules, "jieba", Jieba())
    item = Item(id="1", question="?", gold=("去过火星。",), answer_type="free_text", groups={"language": ("zh",)})
    assert DynVqa().judge(item, "火星", rule=JIEBA).score == 1 / 2


def test_both_queries_are_items_with_their_image_where_it_is_there(tmp_path: Path) -> None:
    write_json(tmp_path / "DynVQA_en.jsonl", [MARS])
    write_json(tmp_path / "DynVQA_zh.jsonl", [PRIZE])
    (tmp_path / "images").mkdir()
    image = tmp_path / "images" / "image_2.jpeg"
    image.write_bytes(picture())
    mars, prize = items_of(DynVqa(), tmp_path)
    assert mars.gold == ("目前还没有人类去过火星。", "No humans have been to Mars yet.", "0")
    assert (mars.images, mars.facts["image_url"], prize.images) == ((image,), MARS["image_url"], ())
    assert [item.groups["language"] for item in (mars, prize)] == [("en",), ("zh",)]
    golden = items_of(DynVqaGolden(), tmp_path)
    assert [item.question for item in golden] == [MARS["gloden_query"], PRIZE["golden_query"]]
    assert [item.id for item in golden] == ["en2", "zh43"]


def test_outputs_score_by_language(tmp_path: Path) -> None:
    said = [{**MARS, "prediction": "No humans yet"}, {**PRIZE, "prediction": "120 美元"}]
    scores = score_outputs(DynVqa(), read_outputs(DynVqa(), write_json(tmp_path / "output_from_gpt4v.jsonl", said)))
    assert scores.by_category == {"en": pytest.approx(300 / 7), "zh": 100.0}
    assert scores.metrics["F1-recall"] == scores.overall == pytest.approx((300 / 7 + 100) / 2)


def test_broken_lines_cost_themselves_only(tmp_path: Path) -> None:
    path = write_json(tmp_path / "o.jsonl", [{**MARS, "prediction": "x"}, {"prediction": "x", "question": " "}])
    path.write_text(path.read_text("utf-8") + "{no\n" + path.read_text("utf-8").splitlines()[0], "utf-8")
    assert [type(each) for each in DynVqa().outputs(path, None)] == [Output, Unreadable, Unreadable, Output]


def test_a_missing_file_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"Dyn-VQA \(query\).*DynVQA_en\.jsonl.*OmniSearch"):
        DynVqa().items(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Liz Truss didn't resign (yet).", "Liz Truss did n't resign ( yet ) ."),
        ("it's mary's. players' $3.50, 1,000 a: 12:30", "it 's mary 's . players ' $ 3.50 , 1,000 a : 12:30"),
        ('"q" isn\'t "q"', "`` q '' is n't `` q ''"),
        ("so far. then", "so far . then"),
        ("mr. j. smith of the u.s. army. cannot", "mr. j. smith of the u.s. army . can not"),
        ("wait... what?! -- “x”", "wait ... what ? ! -- “ x ”"),
    ],
)
def test_english_is_cut_as_nltk_does(text: str, words: str) -> None:
    assert cut_words(text) == words.split()
