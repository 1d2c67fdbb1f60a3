"""Outputs are scored by command: in JSON as published, in words for people, with what could not be scored."""

import json
from pathlib import Path

import pytest

from mmat_dagster.cli import run
from mmat_dagster.scoreboards import aligned
from mmat_dagster.scoring import BENCHMARKS

TABLE = """\
index\tquestion\tanswer\tcategory\tprediction
0\tA?\tred\tdrawn\tRed.
1\tB?\tblue\tdrawn\tgrey
2\tC?\t7\tshared\t7
"""


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    path = tmp_path / "outputs.tsv"
    path.write_text(TABLE)
    return path


def test_scores_are_printed_as_json(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--benchmark", "sample_vqa", "--outputs", str(outputs), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["overall"], told["n"], told["rule"]) == (66.67, 3, "same words")
    assert told["by_category"] == {"drawn": 50.0, "shared": 100.0}
    assert told["interval"][0] <= told["overall"] <= told["interval"][1]
    assert told["unrounded"]["accuracy"] == pytest.approx(200 / 3)


def test_scores_are_told_in_words(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "--benchmark", "sample_vqa", "--outputs", str(outputs)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("Sample VQA: 66.67 of 100   95 % interval ")
    assert "drawn" in told


def test_what_cannot_be_scored_is_named_and_its_neighbours_are_scored(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs.write_text(TABLE + "3\ttoo few\n")
    assert run(["score", "--benchmark", "sample_vqa", "--outputs", str(outputs), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["not_scored"] == 1
    assert "not scored: outputs.tsv: row 4: 2 cells under 5 headings" in printed.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--outputs", "nowhere.tsv"], "nowhere.tsv"),
        (["--outputs", "{outputs}", "--rule", "mine"], "'mine' is no rule of Sample VQA: it may be same words"),
    ],
)
def test_a_score_that_cannot_be_is_an_error(
    outputs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    named = [each.format(outputs=outputs) for each in arguments]
    assert run(["score", "--benchmark", "sample_vqa", *named]) == 1
    assert complaint in capsys.readouterr().err


def test_gold_answers_are_looked_for_among_the_benchmarks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = tmp_path / "benchmarks" / "mathvision" / "test.jsonl"
    gold.parent.mkdir(parents=True)
    record = {"id": "1", "question": "?", "options": [], "answer": "60", "level": 2, "subject": "arithmetic"}
    gold.write_text(json.dumps({**record, "image": "images/1.jpg"}) + "\n")
    said = tmp_path / "elsewhere" / "model.jsonl"
    said.parent.mkdir()
    said.write_text(json.dumps({"id": "1", "response": "60", "model_answer": "60", "correct": False}) + "\n")
    arguments = ["score", "--benchmark", "mathvision", "--outputs", str(said), "--json"]
    assert run(arguments) == 1
    assert "gold" in capsys.readouterr().err
    monkeypatch.setenv("MMAT_BENCHMARKS", str(tmp_path / "benchmarks"))
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["overall"] == 100.0


def test_every_benchmark_has_its_names_rules_and_a_place_to_get_it_from() -> None:
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        assert benchmark.rules
        assert benchmark.title
        assert len(benchmark.source) > 20


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "sample_vqa"])
def test_a_benchmark_that_is_not_there_says_where_to_get_it(name: str, tmp_path: Path) -> None:
    assert not BENCHMARKS[name].is_in(tmp_path)


def test_a_table_stands_in_columns_on_a_terminal() -> None:
    assert aligned("| a | b |\n| --- | ---: |\n| long | 1 |\n") == "a     b\nlong  1\n"


def test_scores_and_answers_of_nobody_say_how_to_examine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMAT_STORE", str(tmp_path / "store"))
    for command in (["scores"], ["answers", "--variant", "rr"]):
        assert run(command) == 1
        assert "materialize benchmark_scores" in capsys.readouterr().err
