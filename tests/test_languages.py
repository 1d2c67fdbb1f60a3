"""A text's language is told where it is sure, and Google knows it; otherwise nothing is said."""

import json
import threading
from collections import Counter
from pathlib import Path

import pytest

from resources.languages import GOOGLE_LANGUAGES, language_of

ROOT = Path(__file__).resolve().parents[1]
XQUAD = ROOT.parent / "shared" / "data" / "operators" / "rag" / "xquad" / "xquad.en.json"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What city is home to the pictured museum?", "en"),
        ("In welchem Jahr wurde dieses Schloss gebaut?", "de"),
        ("¿En qué año se construyó este castillo?", "es"),
        ("Hur högt är tornet egentligen?", "sv"),
        ("Кто спроектировал это здание?", "ru"),
        ("מי תכנן את הבניין הזה?", "iw"),
        ("この建物は誰が設計しましたか?", "ja"),
        ("이 건물은 누가 설계했습니까?", "ko"),
        ("这座建筑是谁设计的?", "zh-CN"),
        ("這座建築是誰設計的?", "zh-TW"),
    ],
)
def test_a_sentence_tells_its_language(text: str, language: str) -> None:
    assert language_of(text) == language
    assert language in GOOGLE_LANGUAGES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "judo",
        "Berlin",
        "42 + 17 =",
        "日本",
        "Die Hard movie",
        "Mona Lisa painter",
        "Bauhaus Dessau architect",
        "\ud800\x00",
        "Хто спроектував цю будівлю?",  # Ukrainian, which Google cannot restrict to: it is not taken for Russian
    ],
)
def test_nothing_is_said_of_a_text_that_is_short_uncertain_or_in_another_language(text: str) -> None:
    assert language_of(text) is None


def test_threads_that_ask_at_once_agree() -> None:
    told: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: told.append(language_of("What city is home to the pictured museum?")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["en"] * 8


@pytest.mark.skipif(not XQUAD.is_file(), reason="XQuAD is not at hand")
def test_english_questions_are_hardly_ever_taken_for_others() -> None:
    pages = json.loads(XQUAD.read_text("utf-8"))["data"]
    asked = [qa["question"] for page in pages for paragraph in page["paragraphs"] for qa in paragraph["qas"]]
    told = Counter(map(language_of, asked))
    assert told["en"] / len(asked) > 0.9
    assert told["en"] + told[None] >= len(asked) - 2
