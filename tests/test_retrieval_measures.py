"""The measures of retrieval say what NIST's trec_eval says, and TREC's files are read as it reads them."""

import math
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmat_dagster.scoring.retrieval import CUTOFFS, mean, rank, score_query, score_run
from mmat_dagster.scoring.trec import TrecError, field, read_qrels, read_run, render_run

NIST = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "operators" / "rag" / "trec_eval" / "test"

rankings = st.lists(st.sampled_from([f"d{number}" for number in range(12)]), unique=True, max_size=12)
judgements = st.dictionaries(st.sampled_from([f"d{number}" for number in range(12)]), st.integers(-1, 4), max_size=12)


def told(path: Path) -> dict[tuple[str, str], str]:
    """Read trec_eval's output: by query and measure, the value to four digits."""
    lines = (line.split(None, 2) for line in path.read_text("utf-8").splitlines())
    return {(query, name): value for name, query, value in lines}


@pytest.mark.skipif(not NIST.is_dir(), reason="trec_eval's own test files are not at hand")
@pytest.mark.parametrize(
    ("output", "qrels", "relevant_from", "compared"),
    [
        ("out.test", "qrels.test", 1, 11),
        ("out.test.a", "qrels.test", 1, 30),
        ("out.test.aq", "qrels.test", 1, 4 * 30),
        ("out.test.aql", "qrels.rel_level", 2, 4 * 30),
    ],
)
def test_every_measure_is_trec_evals_own(output: str, qrels: str, relevant_from: int, compared: int) -> None:
    scores = score_run(read_run(NIST / "results.test"), read_qrels(NIST / qrels), relevant_from=relevant_from)
    ours = {(query, name): value for query, each in scores.items() for name, value in each.items()}
    ours |= {("all", name): value for name, value in mean(scores.values()).items()}
    theirs = {key: value for key, value in told(NIST / output).items() if key in ours}
    assert len(theirs) == compared
    assert {key: f"{ours[key]:.4f}" for key in theirs} == theirs


@pytest.mark.skipif(not NIST.is_dir(), reason="trec_eval's own test files are not at hand")
def test_what_stands_behind_a_tag_is_not_read() -> None:
    run = read_run(NIST / "results.trunc")
    assert sorted(run) == ["301", "303"]
    assert run["301"]["FBIS3-27619"] == 2.138276


def test_graded_judgements_weigh_by_hand() -> None:
    scores = score_query(["a", "b", "c", "d"], {"a": 1, "c": 3, "x": 2, "d": 0}, cutoffs=(1, 2, 10))
    best = 3 + 2 / math.log2(3) + 1 / 2
    assert scores == pytest.approx(
        {
            "map": (1 / 1 + 2 / 3) / 3,
            "ndcg": (1 + 3 / 2) / best,
            "recip_rank": 1.0,
            "P_1": 1.0,
            "P_2": 0.5,
            "P_10": 0.2,
            "recall_1": 1 / 3,
            "recall_2": 1 / 3,
            "recall_10": 2 / 3,
            "ndcg_cut_1": 1 / 3,
            "ndcg_cut_2": 1 / (3 + 2 / math.log2(3)),
            "ndcg_cut_10": (1 + 3 / 2) / best,
            "mrr_cut_1": 1.0,
            "mrr_cut_2": 1.0,
            "mrr_cut_10": 1.0,
        }
    )


def test_a_first_hit_behind_the_cut_counts_for_recip_rank_alone() -> None:
    scores = score_query(["a", "b", "c"], {"c": 1}, cutoffs=(2, 3))
    assert (scores["recip_rank"], scores["mrr_cut_2"], scores["mrr_cut_3"]) == (1 / 3, 0.0, 1 / 3)


def test_equal_scores_rank_by_the_greater_id_whatever_the_file_says() -> None:
    assert rank({"a": 1.0, "c": 1.0, "b": 1.0, "z": 0.5, "first": 2.0}) == ["first", "c", "b", "a", "z"]


def test_only_queries_in_both_files_count_and_one_without_anything_relevant_counts_as_zero() -> None:
    run = {"1": {"a": 1.0}, "2": {"a": 1.0}, "4": {"a": 1.0}}
    scores = score_run(run, {"1": {"a": 1}, "2": {"b": 0}, "3": {"a": 1}})
    assert sorted(scores) == ["1", "2"]
    assert set(scores["2"].values()) == {0.0}
    assert mean(scores.values())["map"] == 0.5
    assert mean([]) == {}


@given(rankings, judgements)
def test_measures_lie_between_nothing_and_one(ranked: list[str], judged: dict[str, int]) -> None:
    assert all(0 <= value <= 1 + 1e-12 for value in score_query(ranked, judged).values())


@given(judgements)
def test_the_best_order_has_every_measure_that_can_be_whole_at_one(judged: dict[str, int]) -> None:
    ranked = sorted(judged, key=lambda document: -judged[document])
    scores = score_query(ranked, judged)
    whole = float(any(judgement > 0 for judgement in judged.values()))
    names = ("map", "ndcg", "recip_rank", "recall_1000", "mrr_cut_5", *(f"ndcg_cut_{k}" for k in CUTOFFS))
    assert [scores[name] for name in names] == pytest.approx([whole] * len(names))


@given(rankings, judgements)
def test_what_nobody_judged_at_the_end_changes_nothing(ranked: list[str], judged: dict[str, int]) -> None:
    assert score_query([*ranked, "unjudged"], judged) == score_query(ranked, judged)


@given(rankings, judgements)
def test_recall_grows_with_the_cut(ranked: list[str], judged: dict[str, int]) -> None:
    scores = score_query(ranked, judged)
    recalls = [scores[f"recall_{k}"] for k in CUTOFFS]
    assert recalls == sorted(recalls)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("1 Q0 a 1 2.5\n", "line 1 is not a line of a run: qid Q0 docid rank score tag"),
        ("1 Q0 a 1 2.5 t\n\n1 Q0 b 1 high t\n", "line 3 is not a line of a run: .* 'high' is no number for it"),
        ("1 Q0 a 1 nan t\n", "line 1 is not a line of a run: .* 'nan' is no number for it"),
        ("1 Q0 a 1 2.5 t\n1 Q0 a 2 2.0 t\n", "line 2: the document a stands twice under the query 1"),
    ],
)
def test_a_run_that_is_none_is_complained_of(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "bad.run"
    path.write_text(content, "utf-8")
    with pytest.raises(TrecError, match=f"{path}, {complaint}"):
        read_run(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("1 0 a\n", "line 1 is not a line of qrels: qid iteration docid relevance"),
        ("# judged\n1 0 a 1 more\n", "line 2 is not a line of qrels"),
        ("1 0 a 0.5\n", "line 1 is not a line of qrels: .* '0.5' is no number for it"),
        ("1 0 a 1\n1 0 b 1\n1 0 a 0\n", "line 3: the document a stands twice under the query 1"),
    ],
)
def test_qrels_that_are_none_are_complained_of(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "bad.qrels"
    path.write_text(content, "utf-8")
    with pytest.raises(TrecError, match=f"{path}, {complaint}"):
        read_qrels(path)


def test_a_file_that_cannot_be_read_is_complained_of(tmp_path: Path) -> None:
    with pytest.raises(TrecError, match=r"absent\.run cannot be read: No such file"):
        read_run(tmp_path / "absent.run")
    (tmp_path / "latin.run").write_bytes("1 Q0 \xe9 1 2.0 t".encode("latin-1"))
    with pytest.raises(TrecError, match=r"latin\.run is not text in UTF-8"):
        read_run(tmp_path / "latin.run")


@given(st.lists(st.floats(0, 1000, width=32), max_size=40), st.booleans())
def test_a_printed_run_keeps_its_order_and_its_scores(scores: list[float], all_equal: bool) -> None:
    found = [(f"d{number}", score) for number, score in enumerate(sorted(scores, reverse=True))]
    found = [(document, found[0][1]) for document, _ in found] if all_equal else found
    fields = [line.split() for line in render_run("q", found, "tag").splitlines()]
    assert [each[2] for each in fields] == [document for document, _ in found]
    assert [int(each[3]) for each in fields] == list(range(1, len(found) + 1))
    # As a version of trec_eval reads them that holds scores in 32 bits.
    printed = [struct.unpack("f", struct.pack("f", float(each[4])))[0] for each in fields]
    assert all(later < earlier for earlier, later in pairwise(printed))
    assert printed == pytest.approx([score for _, score in found], rel=1e-5, abs=1e-30)


def test_a_rendered_run_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "one.run"
    path.write_text(render_run("q1", [("b", 2.0), ("a", 2.0), ("c", 0.25)], "bm25"), "utf-8")
    assert path.read_text("utf-8").splitlines()[0] == "q1 Q0 b 1 2 bm25"
    run = read_run(path)
    assert rank(run["q1"]) == ["b", "a", "c"]
    assert run["q1"]["a"] == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("text", ["", "two words", "tab\tbed", "line\n", "#1"])
def test_an_id_that_no_trec_file_can_hold_is_refused(text: str) -> None:
    with pytest.raises(TrecError, match="cannot stand in a TREC file"):
        field(text)
