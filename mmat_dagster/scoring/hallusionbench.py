"""HallusionBench: questions to answer with yes or no, asked of a figure, of an edited one, or of none.

    HallusionBench.json    [{"category": "VS", "subcategory": "chart", "visual_input": "1", "set_id": "0",
                             "figure_id": "1", "question_id": "0", "question": "Is ..?", "gt_answer": "0",
                             "gt_answer_details": "..", "filename": "./VS/chart/0_1.png"}, ..]
    outputs                the same with `model_prediction` and `gpt4v_output_gpt_check`: wrong 0, right 1, unclear 2
    HallusionBench.tsv     index VS_chart_1_0_1_0  category  l2-category  question  answer Yes  image; only what has one

    aAcc   questions that are right      fAcc   figures of which all questions are right
    qAcc   questions that are right on all their figures; easy on the first figure, hard on all the others

The score is the mean of aAcc, fAcc and qAcc, as VLMEvalKit publishes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from mmat_dagster.decontamination.rows import Row
from mmat_dagster.scoring.benchmark import Item, Judged, Output, Scores, Verdict, by_category, percent
from mmat_dagster.scoring.record_fields import RecordError, field, needed
from mmat_dagster.scoring.shipped import ShippedBenchmark
from mmat_dagster.scoring.vlmevalkit import download, hit
from mmat_dagster.scoring.vqa_wording import strip_punctuation

YES_NO = "yes-no"
GPT_CHECK = "gpt-check"
# What the score is the mean of.
MEANT = ("aAcc", "fAcc", "qAcc")

_CHECKS = ("gpt4v_output_gpt_check", "model_prediction_gpt_check", "gpt_check", "gpt4v_output_human_check")
_ANSWERS = {"0": "No", "1": "Yes", "yes": "Yes", "no": "No"}


class HallusionBench(ShippedBenchmark):
    """HallusionBench, judged by yes or no as VLMEvalKit does, or by GPT-4's checks as the publisher does."""

    name = "hallusionbench"
    title = "HallusionBench"
    source = download(
        "HallusionBench", "HallusionBench.json of github.com/tianyi-lab/HallusionBench and its hallusion_bench.zip"
    )
    rules: ClassVar[tuple[str, ...]] = (YES_NO, GPT_CHECK)
    metric = "overall"
    patterns = ("*/hallusionbench.json", "*/*hallusionbench.tsv", "*/image-*.parquet", "*/*hallusionbench*.json")
    responses = ("model_prediction", "gpt4v_output", "llava_1_5_output", *ShippedBenchmark.responses)

    def cluster(self, item: Item) -> str:
        """Return the item's set: its questions and figures are variants of each other."""
        return item.facts["set"]

    def item_of(self, row: Row) -> Item:
        """Return the item of a record, with the names of its figure and of its pair of questions."""
        answer = field(row, "gt_answer", "answer")
        gold = _ANSWERS.get(answer.casefold())
        if answer and gold is None:
            raise RecordError(f"the answer {answer[:80]!r} is neither yes nor no")
        place = _Place.of_index(row) if field(row, "index").count("_") >= _Place.MARKS else _Place.of_record(row)
        return Item(
            id=place.id,
            question=needed(row, "question"),
            gold=(gold,) if gold else (),
            answer_type="yes_no",
            groups={"category": (place.category,), "subcategory": (place.subcategory,)},
            facts=place.facts,
        )

    def matches(self, item: Item, gold: Item) -> bool:
        """Say whether both are the same question: a set's numbers have changed with its versions."""
        return item.id == gold.id and _squeezed(item.question) == _squeezed(gold.question)

    def extraction_of(self, row: Row) -> str | None:
        """Return what GPT-4 said of the answer, or the yes or no that VLMEvalKit took out of it."""
        return field(row, *_CHECKS) or field(row, "extracted") or None

    def verdict_of(self, row: Row) -> bool | None:
        """Return VLMEvalKit's verdict."""
        return hit(row)

    def judge(self, item: Item, response: str, extraction: str | None = None, rule: str | None = None) -> Verdict:
        """Judge by the yes or no of the response; or by GPT-4's check, where without a figure unclear is right."""
        if (rule or YES_NO) == GPT_CHECK:
            right = {"1", "2"} if item.facts.get("figure") == "" else {"1"}
            return Verdict(parsed=extraction, score=float(extraction in right))
        said = take_yes_no(response if extraction is None or extraction in "012" else extraction)
        return Verdict(parsed=said, score=float(said in item.gold))

    def find_rule(self, outputs: Sequence[Output]) -> str:
        """Return the publisher's version where every record has a check of GPT-4."""
        checked = [output.extraction in {"0", "1", "2"} for output in outputs]
        return GPT_CHECK if checked and all(checked) else YES_NO

    def combine(self, judged: Sequence[Judged]) -> Scores:
        """Return the mean of aAcc, fAcc and qAcc, and each of them; of VD and VS too, whose categories tell aAcc."""
        metrics = _accuracies(judged)
        overall = sum(metrics[name] for name in MEANT) / len(MEANT)
        for category in dict.fromkeys(each.item.groups["category"][0] for each in judged):
            members = [each for each in judged if each.item.groups["category"][0] == category]
            metrics |= {f"{category} {name}": value for name, value in _accuracies(members).items()}
        return Scores(
            overall=overall, n=len(judged), by_category=by_category(judged), metrics={self.metric: overall, **metrics}
        )


def take_yes_no(response: str) -> str | None:
    """Return Yes or No, whichever stands alone in a response; None where neither or both do."""
    words = set(strip_punctuation(response.lower()).split())
    if ("yes" in words) == ("no" in words):
        return None
    return "Yes" if "yes" in words else "No"


def _accuracies(judged: Sequence[Judged]) -> dict[str, float]:
    easy = [each for each in judged if each.item.facts["is_easy"] == "yes"]
    hard = [each for each in judged if each.item.facts["is_easy"] == "no"]
    return {
        "aAcc": percent(each.verdict.score for each in judged),
        "fAcc": _all_right(judged, "figure"),
        "qAcc": _all_right(judged, "pair"),
        "easy": _all_right(easy, "pair"),
        "hard": _all_right(hard, "pair"),
    }


def _all_right(judged: Sequence[Judged], by: str) -> float:
    """Return the share of figures, or of pairs, of which all questions are right; what has no figure does not count."""
    worst: dict[str, float] = {}
    for each in judged:
        name = each.item.facts[by]
        if name:
            worst[name] = min(worst.get(name, 1.0), each.verdict.score)
    return percent(list(worst.values()))


def _squeezed(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a question belongs; its figure and pair are told apart within its `group`."""

    category: str
    subcategory: str
    group: str
    set_id: str
    figure_id: str
    question_id: str

    MARKS: ClassVar[int] = 5

    @classmethod
    def of_record(cls, row: Row) -> Self:
        """Return the place that a record of the publisher tells."""
        category, subcategory = needed(row, "category"), needed(row, "subcategory", "l2-category")
        set_id, figure_id, question_id = (needed(row, name) for name in ("set_id", "figure_id", "question_id"))
        return cls(
            category=category,
            subcategory=subcategory,
            group=f"{category}_{subcategory}",
            set_id=set_id,
            figure_id=figure_id,
            question_id=question_id,
        )

    @classmethod
    def of_index(cls, row: Row) -> Self:
        """Return the place that the index of a row of VLMEvalKit tells: VS_chart_1_0_1_0."""
        category, subcategory, _, set_id, figure_id, question_id = field(row, "index").split("_")[: cls.MARKS + 1]
        named = field(row, "l2-category", "l2_category") or subcategory
        # VLMEvalKit does not tell VD from VS when it counts.
        return cls(
            category=field(row, "category") or category,
            subcategory=named,
            group=named,
            set_id=set_id,
            figure_id=figure_id,
            question_id=question_id,
        )

    @property
    def id(self) -> str:
        """What the question is called."""
        return "_".join((self.category, self.subcategory, self.set_id, self.figure_id, self.question_id))

    @property
    def facts(self) -> dict[str, str]:
        """The names of its figure, empty where it has none, and of the pair of questions that it is one of."""
        has_figure = self.category != "VS" or self.figure_id != "0"
        return {
            "figure": f"{self.group}_{self.set_id}_{self.figure_id}" if has_figure else "",
            "pair": f"{self.group}_{self.set_id}_{self.question_id}",
            "set": f"{self.group}_{self.set_id}",
            "is_easy": "yes" if self.figure_id == "0" else "no",
        }
