"""Whatever a model says, a rule tells a score between 0 and 1, and the order of what is judged does not matter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmat_dagster.scoring.ai2d import AI2D
from mmat_dagster.scoring.answer_measures import score_anls, score_exact_match, score_relaxed, score_vqa
from mmat_dagster.scoring.benchmark import Benchmark, Item, Judged, Verdict
from mmat_dagster.scoring.blink import Blink
from mmat_dagster.scoring.dyn_vqa import JIEBA, DynVqa, DynVqaGolden
from mmat_dagster.scoring.hallusionbench import HallusionBench
from mmat_dagster.scoring.mmstar import MMStar
from mmat_dagster.scoring.ocrbench import OcrBench
from mmat_dagster.scoring.realworldqa import RealWorldQA

BENCHMARKS = (Blink(), MMStar(), AI2D(), RealWorldQA(), OcrBench(), HallusionBench(), DynVqa(), DynVqaGolden())
RULES = [(one, rule) for one in BENCHMARKS for rule in one.rules if rule != JIEBA]

FACTS = {"figure": "VD_ocr_0_1", "pair": "VD_ocr_0_0", "is_easy": "no", "dataset": "HME100k"}
GROUPS = {"category": ("VD",), "task": ("Counting",), "type": ("Doc-oriented VQA",), "language": ("zh",)}

pieces = st.sampled_from(
    [
        *"ABCDZ()[]{}.,:;!*#%'\"`\\/-_ \n\t\x00\ud800",
        "(A)",
        "answer is ",
        "yes",
        "no",
        "nan",
        "inf",
        "1e999",
        "火",
        "٣",
        "…",
    ]
)
texts = st.text() | st.lists(pieces, max_size=40).map("".join)
# What regular expressions that go back and forth take long for.
LONG = [
    piece * (100_000 // len(piece))
    for piece in (
        "a",
        " ",
        "\n",
        "(",
        "'",
        '"',
        ".",
        "A ",
        "a.",
        "\\",
        "火",
        "1,",
        "``",
        " '",
        "((A",
        "-",
        "n't ",
        "\t\n ",
        ". ",
        "}",
        "%",
    )
]


def item(*gold: str, choices: tuple[str, ...] = ("yes", "no")) -> Item:
    return Item(id="1", question="?", gold=gold, answer_type="free_text", choices=choices, groups=GROUPS, facts=FACTS)


def check(verdict: Verdict) -> None:
    assert 0.0 <= verdict.score <= 1.0
    assert verdict.parsed is None or isinstance(verdict.parsed, str)


@pytest.mark.parametrize(("benchmark", "rule"), RULES, ids=lambda one: getattr(one, "name", one))
@given(response=texts, gold=st.lists(texts, max_size=2), extraction=st.none() | texts, has_choices=st.booleans())
@settings(max_examples=20)
def test_any_text_has_a_score(
    benchmark: Benchmark, rule: str, response: str, gold: list[str], extraction: str | None, has_choices: bool
) -> None:
    asked = item(*gold, choices=("yes", "no") if has_choices else ())
    verdict = benchmark.judge(asked, response, extraction, rule)
    check(verdict)
    assert verdict == benchmark.judge(asked, response, extraction, rule)


@pytest.mark.parametrize(("benchmark", "rule"), RULES, ids=lambda one: getattr(one, "name", one))
def test_long_texts_have_a_score(benchmark: Benchmark, rule: str) -> None:
    for text in LONG:
        check(benchmark.judge(item("A", "yes"), text, None, rule))
        check(benchmark.judge(item("A", text[:1000]), text[:1000], text, rule))


@given(texts, st.lists(texts, max_size=3))
def test_any_answer_is_measured(answer: str, golds: list[str]) -> None:
    for measure in (score_anls, score_exact_match, score_relaxed, score_vqa):
        assert 0.0 <= measure(answer, golds) <= 1.0


def test_long_answers_are_measured() -> None:
    for text in LONG:
        for measure in (score_anls, score_relaxed, score_vqa):
            assert 0.0 <= measure(text, ["yes", text[1:]]) <= 1.0


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)
@given(data=st.data())
@settings(max_examples=20)
def test_the_order_does_not_matter(benchmark: Benchmark, data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.sampled_from([0.0, 1.0]), max_size=8))
    judged = [
        Judged(item=item("A", choices=(str(place % 3),)), verdict=Verdict(parsed=None, score=score))
        for place, score in enumerate(scores)
    ]
    first, second = benchmark.combine(judged), benchmark.combine(data.draw(st.permutations(judged)))
    assert first == second
    assert 0.0 <= first.overall <= benchmark.full_marks
    assert benchmark.metric in first.metrics
