"""`search` prints a TREC run whose order trec_eval keeps, its measures if asked, and one sentence where it cannot."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from mmat_dagster.cli import run
from mmat_dagster.scoring.retrieval import rank
from mmat_dagster.scoring.trec import read_run

ROOT = Path(__file__).resolve().parents[1]
PASSAGES = (
    {"id": "b", "text": "A swan swims."},
    {"id": "c", "text": "A swan swims."},
    {"id": "a", "text": "A swan swims."},
    {"id": 7, "title": "Heron", "text": "It fishes."},
)
QUERIES = ({"id": "q1", "text": "Where do swans swim?"}, {"id": 2, "text": "heron"}, {"id": "q3", "text": "zebra"})


def write(path: Path, lines: Iterable[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return write(tmp_path / "passages.jsonl", PASSAGES)


@pytest.fixture
def queries(tmp_path: Path) -> str:
    return write(tmp_path / "queries.jsonl", QUERIES)


def test_the_command_prints_a_run_whose_scores_alone_tell_its_order(corpus: str, queries: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mmat_dagster", "search", "--corpus", corpus, "--queries", queries]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    fields = [line.split(" ") for line in done.stdout.splitlines()]
    assert [(each[0], each[1], each[2], each[3], each[5]) for each in fields] == [
        ("q1", "Q0", "b", "1", "bm25"),
        ("q1", "Q0", "c", "2", "bm25"),
        ("q1", "Q0", "a", "3", "bm25"),
        ("2", "Q0", "7", "1", "bm25"),
    ]
    (tmp_path / "a.run").write_text(done.stdout, "utf-8")
    assert {query: rank(found) for query, found in read_run(tmp_path / "a.run").items()} == {
        "q1": ["b", "c", "a"],
        "2": ["7"],
    }


def test_the_command_fails_in_one_sentence(corpus: str, tmp_path: Path) -> None:
    queries = write(tmp_path / "bad.jsonl", [{"id": "q 1", "text": "swan"}])
    command = [sys.executable, "-m", "mmat_dagster", "search", "--corpus", corpus, "--queries", queries]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {queries}, line 1: the id 'q 1' cannot stand in a TREC file: "
        "it is empty, holds white space or begins with #\n"
    )


def test_top_limits_each_query(corpus: str, queries: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "--corpus", corpus, "--queries", queries, "--top", "2"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["b", "c", "7"]


def test_judgements_are_told_apart_from_the_run(
    corpus: str, queries: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "qrels").write_text("q1 0 c 1\n2 0 7 1\nq3 0 b 1\nq9 0 b 1\n", "utf-8")
    assert run(["search", "--corpus", corpus, "--queries", queries, "--qrels", str(tmp_path / "qrels")]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 4
    measures = {line.split()[0]: line.split()[2] for line in told.err.splitlines()}
    # q3 found nothing: as for trec_eval, it is not part of the run.
    assert measures["num_q"] == "2"
    assert measures["recip_rank"] == "0.7500"
    assert measures["recall_3"] == "1.0000"
    assert measures["P_1"] == "0.5000"


def test_an_index_is_kept_where_told(corpus: str, queries: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(["search", "--corpus", corpus, "--queries", queries, "--cache", str(cache)]) == 0
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("", "holds no query"),
        ('{"id": "q1"}', "line 1 is not a query: text: Field required"),
        ('{"id": "q1", "text": "swan"}\n\n{"id"', "line 3 is not a query: unexpected end"),
        ("[]", "line 1 is not a query: Input should be"),
        ('{"id": 5, "text": "a"}\n{"id": "5", "text": "b"}', "line 2: the query 5 is there twice"),
        ('{"id": "", "text": "a"}', "line 1: the id '' cannot stand in a TREC file"),
    ],
)
def test_queries_that_are_none_are_complained_of(
    corpus: str, tmp_path: Path, lines: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = tmp_path / "queries.jsonl"
    queries.write_text(lines, "utf-8")
    assert run(["search", "--corpus", corpus, "--queries", str(queries)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {queries}")
    assert complaint in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--corpus", "error: the passage corpus absent cannot be read: No such file or directory\n"),
        ("--queries", "error: absent cannot be read: No such file or directory\n"),
        ("--qrels", "error: absent cannot be read: No such file or directory\n"),
    ],
)
def test_a_missing_file_is_complained_of(
    corpus: str, queries: str, option: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", "--corpus", corpus, "--queries", queries, option, "absent"]) == 1
    assert capsys.readouterr().err == complaint


def test_a_passage_that_no_run_can_name_is_complained_of(
    queries: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write(tmp_path / "p.jsonl", [{"id": "two words", "text": "swan"}])
    assert run(["search", "--corpus", corpus, "--queries", queries]) == 1
    assert "the id 'two words' cannot stand in a TREC file" in capsys.readouterr().err


def test_judgements_of_other_queries_are_complained_of(
    corpus: str, queries: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "qrels").write_text("q9 0 b 1\n", "utf-8")
    assert run(["search", "--corpus", corpus, "--queries", queries, "--qrels", str(tmp_path / "qrels")]) == 1
    assert "qrels judges no query that found anything" in capsys.readouterr().err
