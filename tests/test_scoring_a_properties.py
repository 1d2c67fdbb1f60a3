"""Whatever a model says, a rule neither fails nor hangs: what could take long is among the examples."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmat_dagster.scoring.benchmark import Benchmark, Item, Judged
from mmat_dagster.scoring.mathvision import MathVision
from mmat_dagster.scoring.mathvista import MathVista
from mmat_dagster.scoring.mmmu import MMMU
from mmat_dagster.scoring.tabmwp import TabMWP

LONG = 100_000
# Texts that take other readers quadratic time, or for ever.
PIECES = [
    *(
        "1",
        "-",
        "$.",
        "1,",
        ".1",
        " 1",
        " = ",
        " be 1",
        "1e",
        "-1e",
        "9!",
        "2^",
        "111,",
        "is ",
        "1 A.M. ",
        "(A)",
        " A ",
    ),
    *("oxed{", "{", "}", "(", "[", "\\frac{", "\\sqrt{", "\\frac{1", "\\frac{1}{1", "$\\frac{1}{", "\\left", "="),
    *(
        'The answer is "',
        "The answer is ",
        "the answer is ",
        "answer: ",
        '"."',
        "\n",
        "'",
        "sqrt",
        "\ud800",
        "\x00",
        "١",
    ),
]
NUMBERS = ["9^9^9^9", "9^{9^{9^{9}}}", "9!!!!", "1e999999", "NaN", "inf", "-inf", "1/0", "7" * 5000, "(" * 5000]
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES + NUMBERS[:8]), max_size=9).map("".join),
    st.sampled_from(PIECES).map(lambda piece: (piece * LONG)[:LONG]),
)

VISTA = {"question_type": "free_form", "precision": "1"}
CHOICE = {"question_type": "multiple-choice"}
BENCHMARKS: list[tuple[Benchmark, list[Item]]] = [
    (
        MathVista(),
        [
            Item(
                id="1",
                question="?",
                gold=("yes",),
                answer_type="option_text",
                choices=("yes", "not at all"),
                facts={**VISTA, "question_type": "multi_choice"},
            ),
            Item(id="2", question="?", gold=("3",), answer_type="number", facts={**VISTA, "answer_type": "integer"}),
            Item(id="3", question="?", gold=("3.1",), answer_type="number", facts={**VISTA, "answer_type": "float"}),
            Item(
                id="4", question="?", gold=("[1, 2]",), answer_type="free_text", facts={**VISTA, "answer_type": "list"}
            ),
        ],
    ),
    (
        MathVision(),
        [
            Item(id="1", question="?", gold=("A",), answer_type="option_letter", choices=("$\\frac{1}{2}$", "2:1")),
            Item(id="2", question="?", gold=("(3,-4)",), answer_type="word_or_phrase"),
            Item(id="3", question="?", gold=("\\frac{4}{3}",), answer_type="number"),
        ],
    ),
    (
        MMMU(),
        [
            Item(
                id="validation_Math_1",
                question="?",
                gold=("A",),
                answer_type="option_letter",
                choices=("1", "a cat"),
                facts=CHOICE,
            ),
            Item(
                id="validation_Math_2",
                question="?",
                gold=("24/7", "3.429"),
                answer_type="number",
                facts={"question_type": "short-answer"},
            ),
        ],
    ),
    (
        TabMWP(),
        [
            Item(id="1", question="?", gold=("yes",), answer_type="option_text", choices=("yes", "no way")),
            Item(id="2", question="?", gold=("35",), answer_type="number", unit="$"),
        ],
    ),
]


@pytest.mark.parametrize(("benchmark", "items"), BENCHMARKS, ids=[benchmark.name for benchmark, _ in BENCHMARKS])
def test_any_text_is_judged_right_or_wrong(benchmark: Benchmark, items: list[Item]) -> None:
    @settings(max_examples=20, deadline=None)
    @given(TEXTS, st.booleans())
    @example("9^{9^{9^{9}}}", False)
    @example("NaN", True)
    def judge(text: str, is_extracted: bool) -> None:
        for item in items:
            for rule in benchmark.rules:
                verdict = benchmark.judge(item, text, text if is_extracted else None, rule)
                assert verdict.score in {0.0, 1.0}
                assert verdict.parsed is None or isinstance(verdict.parsed, str)

    judge()


@pytest.mark.parametrize(("benchmark", "items"), BENCHMARKS, ids=[benchmark.name for benchmark, _ in BENCHMARKS])
def test_scores_do_not_depend_on_the_order_of_the_items(benchmark: Benchmark, items: list[Item]) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(items), st.text(max_size=30)), min_size=1, max_size=8))
    def score(said: list[tuple[Item, str]]) -> None:
        judged = [Judged(item=item, verdict=benchmark.judge(item, text)) for item, text in said]
        mixed = [Judged(item=item, verdict=benchmark.judge(item, text)) for item, text in reversed(said)]
        assert benchmark.combine(judged).overall == benchmark.combine(mixed).overall

    score()


@pytest.mark.parametrize(
    "text", [*((piece * LONG)[:LONG] for piece in PIECES[:24]), *NUMBERS], ids=lambda text: text[:8]
)
def test_no_long_text_hangs(text: str) -> None:
    for benchmark, items in BENCHMARKS:
        assert {benchmark.judge(item, text).score for item in items} <= {0.0, 1.0}
