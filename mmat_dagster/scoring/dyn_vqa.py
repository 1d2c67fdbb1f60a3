"""Dyn-VQA: questions whose answers change, or want several searches; in English and in Chinese.

    DynVQA_en.jsonl   {"image_url": "https://..", "question": "In what year did humans first land on this planet?",
                       "question_id": "en2", "answer": ["No humans have been to Mars yet.", ..],
                       "gloden_query": "What year did the first human land on Mars?"}
    outputs           the same with `prediction`

F1-recall: of the words of a gold answer, those that the response holds; of several gold answers the best counts. The
response is written as the VQA evaluation does, a gold answer is not. English words are NLTK's. OmniSearch's script cuts
Chinese with jieba, and so does the rule of that name, which wants the package; the usual one takes characters.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from mmat_dagster.decontamination.image_files import ImageFiles
from mmat_dagster.decontamination.rows import Row
from mmat_dagster.scoring.benchmark import Item, ScoringError, Verdict
from mmat_dagster.scoring.english_words import cut_words
from mmat_dagster.scoring.record_fields import as_text, field, needed
from mmat_dagster.scoring.shipped import ShippedBenchmark
from mmat_dagster.scoring.vqa_wording import normalise_answer

CHARACTERS = "f1-recall"
JIEBA = "f1-recall-jieba"

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CHINESE_WORD = re.compile(rf"[{_CHINESE}]|[^\s{_CHINESE}，、。,.《》]+")
_MARKS = ",.?!:;'\""
_CHINESE_MARKS = "，、。 ,.《》"


class DynVqa(ShippedBenchmark):
    """Dyn-VQA, asked as people ask it: the picture must be recognised first."""

    name = "dyn_vqa"
    title = "Dyn-VQA (query)"
    source = (
        "Get dataset/DynVQA_en.jsonl and DynVQA_zh.jsonl of github.com/Alibaba-NLP/OmniSearch, and each image from its "
        "image_url into the same folder."
    )
    rules: ClassVar[tuple[str, ...]] = (CHARACTERS, JIEBA)
    metric = "F1-recall"
    patterns = ("*/dynvqa_*.jsonl", "*/vfreshqa*/*.jsonl", "*/*dyn*vqa*.jsonl", "*/*dyn*vqa*.json", "*/*.jsonl")
    asked: ClassVar[tuple[str, ...]] = ("question",)
    """The fields that hold what is asked."""

    def item_of(self, row: Row) -> Item:
        """Return the item of a record, with where its image is to be had."""
        question = needed(row, *self.asked)
        language = "zh" if re.search(f"[{_CHINESE}]", field(row, "question") or question) else "en"
        return Item(
            id=field(row, "question_id", "id", "index") or row.name,
            question=question,
            gold=tuple(dict.fromkeys(_listed(row.fields.get("answer")))),
            answer_type="free_text",
            groups={"language": (language,)},
            facts={"image_url": field(row, "image_url")},
        )

    def images_of(self, row: Row, beside: Path, files: ImageFiles) -> tuple[Path | bytes, ...]:
        """Return the image as it was downloaded; none where it was not: then only its address is told."""
        if not field(row, "image_url"):
            return super().images_of(row, beside, files)
        name = PurePosixPath(unquote(urlsplit(field(row, "image_url")).path)).name
        file = files.find(name, beside) if name else None
        return () if file is None else (file,)

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Return the F1-recall of a response; raises ScoringError where jieba is asked for and not installed."""
        said = normalise_answer(response if extraction is None else extraction)
        cut: Callable[[str], list[str]] = _cut_english
        if "zh" in item.groups.get("language", ()):
            cut = _jieba() if rule == JIEBA else _cut_characters
        words = cut(said) if said else []
        recalls = [score_recall(cut(gold), words) for gold in item.gold] if said else []
        return Verdict(parsed=said or None, score=max(recalls, default=0.0))


class DynVqaGolden(DynVqa):
    """Dyn-VQA, asked with the name of what the picture shows."""

    name = "dyn_vqa_golden"
    title = "Dyn-VQA (golden query)"
    asked = ("golden_query", "gloden_query")


def score_recall(gold: list[str], said: list[str]) -> float:
    """Return which part of the words of `gold` is said, each as often as it stands there."""
    if not gold or not said:
        return float(gold == said)
    return (Counter(gold) & Counter(said)).total() / len(gold)


def _listed(answer: object) -> Iterator[str]:
    """Yield the answers in a list, and in the lists in it; numbers as text, none for null."""
    if isinstance(answer, list | tuple):
        for one in answer:
            yield from _listed(one)
    elif text := as_text(answer).strip():
        yield text


def _cut_english(text: str) -> list[str]:
    return [word for word in cut_words(text.lower()) if word not in _MARKS]


def _cut_characters(text: str) -> list[str]:
    return _CHINESE_WORD.findall(text)


def _jieba() -> Callable[[str], list[str]]:
    try:
        jieba = import_module("jieba")
    except ImportError as error:
        raise ScoringError(f"the rule {JIEBA} cuts Chinese words with jieba: pip install jieba") from error
    return lambda text: [word for word in " ".join(jieba.cut(text)).split() if word not in _CHINESE_MARKS]
