"""OCRBench: 1,000 questions of ten types that want text to be read.

    OCRBench.json      [{"dataset_name": "IIIT5K", "id": 2843, "image_path": "IIIT5K/test/918_1.png",
                        "question": "what is written in the image?", "answers": "CENTRE",
                        "type": "Regular Text Recognition"}, ..]
    results/<m>.json   the same with `predict`
    OCRBench.tsv       index  image  question  answer (a list, written out)  category

A response is right that holds one of the answers; in handwritten formulas case counts and spaces do not. The score is
how many are right, out of 1,000: of a part of the questions, too, it is their number.
"""

import ast
from collections.abc import Sequence
from typing import ClassVar

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.scoring.benchmark import Item, Judged, Scores, Verdict
from mmat_dagster.scoring.record_fields import as_text, field, needed
from mmat_dagster.scoring.shipped import ShippedBenchmark
from mmat_dagster.scoring.vlmevalkit import download, hit

FORMULAS = "Handwritten Mathematical Expression Recognition"
RECOGNITION = "Text Recognition"
RECOGNISED = (
    *("Regular Text Recognition", "Irregular Text Recognition", "Artistic Text Recognition"),
    *("Handwriting Recognition", "Digit String Recognition", "Non-Semantic Text Recognition"),
)
# Longer lists of answers are no list that VLMEvalKit has written.
LONGEST = 10_000


class OcrBench(ShippedBenchmark):
    """OCRBench, version 1."""

    name = "ocrbench"
    title = "OCRBench"
    source = download("OCRBench", "OCRBench/json_files/OCRBench.json of github.com/Yuliang-Liu/MultimodalOCR")
    rules: ClassVar[tuple[str, ...]] = ("containment",)
    metric = "final score"
    decimals = 0
    full_marks = 1000.0
    patterns = ("*/ocrbench.json", "*/test-*.parquet", "*/*ocrbench.tsv", "*/*.parquet")

    def item_of(self, row: Row) -> Item:
        """Return the item of a record; its category is the type of question."""
        given = row.fields.get("answers") if row.fields.get("answers") is not None else row.fields.get("answer")
        kind = needed(row, "type", "question_type", "category")
        return Item(
            id=_id(row),
            question=needed(row, "question"),
            gold=_answers(given),
            answer_type="word_or_phrase",
            groups={"type": (kind,)},
            facts={"dataset": field(row, "dataset_name", "dataset")},
        )

    def verdict_of(self, row: Row) -> bool | None:
        """Return the publisher's or VLMEvalKit's verdict."""
        told = field(row, "result")
        return told == "1" if told else hit(row)

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:  # noqa: ARG002
        """Look for one of the answers in the response."""
        is_formula = item.facts.get("dataset") == "HME100k" or FORMULAS in item.groups.get("type", ())
        write = _formula if is_formula else _text
        said = write(response)
        # What was never answered is wrong, even where an answer is empty.
        right = next((gold for gold in item.gold if said and write(gold) in said), None)
        return Verdict(parsed=right, score=float(right is not None))

    def combine(self, judged: Sequence[Judged]) -> Scores:
        """Return how many are right: of all, of each type, and of the five groups that the publisher tells."""
        counts: dict[str, float] = {}
        for each in judged:
            for kind in each.item.groups.get("type", ()):
                counts[kind] = counts.get(kind, 0.0) + each.verdict.score
        overall = sum(each.verdict.score for each in judged)
        others = {kind: count for kind, count in counts.items() if kind not in RECOGNISED}
        recognised = sum(counts.get(kind, 0.0) for kind in RECOGNISED)
        metrics = {self.metric: overall, RECOGNITION: recognised, **others}
        return Scores(overall=overall, n=len(judged), by_category=counts, metrics=metrics)


def _id(row: Row) -> str:
    """Return what the item is called: a record's id is that of its data set's, and stands in several."""
    index, of = field(row, "index"), field(row, "dataset_name", "dataset")
    return index or (f"{of}_{field(row, 'id')}" if of and field(row, "id") else row.name)


def _answers(given: object) -> tuple[str, ...]:
    if isinstance(given, list | tuple):
        return tuple(map(as_text, given))
    text = as_text(given)
    if text.startswith("[") and text.endswith("]") and len(text) <= LONGEST:
        listed = _literal(text)
        if isinstance(listed, list):
            return tuple(map(as_text, listed))
    return (text,) if text else ()


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _text(answer: str) -> str:
    return answer.lower().strip().replace("\n", " ")


def _formula(answer: str) -> str:
    return answer.strip().replace("\n", " ").replace(" ", "")
