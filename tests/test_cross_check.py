"""VLMEvalKit examines a served student, and its score stands beside this project's of the same answers."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mmat_dagster import cross_checking
from mmat_dagster.cli import run
from mmat_dagster.decontamination.rows import Row
from mmat_dagster.evaluation.cross_check import CrossCheck, compare
from mmat_dagster.evaluation.vlmevalkit_files import DATASETS, ToolFailed, find_table, read_findings
from mmat_dagster.scoring import BENCHMARKS
from mmat_dagster.scoring.benchmark import Item, ScoringError
from mmat_dagster.scoring.mmstar import MMStar
from tests.chat_server import Body, ChatServer, ServerReply, error_reply
from tests.scoring_tables import as_base64, picture, write_json, write_tsv, write_xlsx

TOOL = Path(__file__).parent / "vlmevalkit"
KEY = "sk-of-the-server"
IMAGE = as_base64(picture())
OTHER = as_base64(picture(2))
QUESTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("math", "geometry", "A", IMAGE),
    ("math", "statistical reasoning", "B", "0"),
    ("logical reasoning", "diagram reasoning", "C", OTHER),
    ("logical reasoning", "diagram reasoning", "D", OTHER),
)
# Three of four are right.
ANSWERS = ("The answer is A.", "B", "(C)", "A, I think")


def row(number: int) -> dict[str, object]:
    category, finer, answer, image = QUESTIONS[number]
    options = {letter: f"option {number}{letter.lower()}" for letter in "ABCD"}
    question = f"Which is number {number}?"
    return {"index": number, "question": question, "image": image, **options, "answer": answer} | {
        "category": category,
        "l2-category": finer,
    }


def predictions(*answers: str) -> list[dict[str, object]]:
    """Return the rows of a table of predictions."""
    rows = [{**row(number), "prediction": answer} for number, answer in enumerate(answers)]
    return [{name: value for name, value in each.items() if name != "image"} for each in rows]


def say(body: Body) -> str | ServerReply:
    text = body["messages"][0]["content"][-1]["text"]
    return next(answer for number, answer in enumerate(ANSWERS) if f"number {number}" in text)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("LMDEPLOY_API_KEY", KEY)
    with ChatServer() as chat:
        chat.script = say
        yield chat


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_tsv(tmp_path / "LMUData" / "MMStar.tsv", [row(number) for number in range(len(QUESTIONS))])
    return tmp_path / "LMUData"


def arguments(server: ChatServer, data: Path, *more: str, tool: Path = TOOL) -> list[str]:
    return [
        *("cross-check", "--benchmark", "mmstar", "--base-url", server.url, "--model", "org/rr-student.v1"),
        *("--work-dir", str(data.parent / "work"), "--data", str(data), "--tool-path", str(tool), *more),
    ]


def test_the_same_answers_have_the_same_score_by_both(
    server: ChatServer, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(server, data)) == 0
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["overall", "75.00", "75.00"] in told
    assert ["math", "100.00", "100.00"] in told
    assert ["diagram", "reasoning", "50.00", "50.00"] in told
    assert told[-2:] == ["0 of 4 answers are judged otherwise.".split(), "The scores agree.".split()]
    assert "rule: vlmevalkit" in " ".join(told[1])


def test_the_student_is_asked_every_question_with_its_image_and_the_key_is_written_nowhere(
    server: ChatServer, data: Path, tmp_path: Path
) -> None:
    run(arguments(server, data))
    assert {each.headers["authorization"] for each in server.received} == {f"Bearer {KEY}"}
    assert {each.body["model"] for each in server.received} == {"org/rr-student.v1"}
    shown = [each.body["messages"][0]["content"][0]["image_url"]["url"] for each in server.received]
    assert sorted(shown) == sorted(f"data:image/jpeg;base64,{image}" for image in (IMAGE, IMAGE, OTHER, OTHER))
    written = [path.read_text("utf-8") for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert any("key ***, judge exact_matching" in text for text in written)
    assert not any(KEY in text for text in written)


def test_a_verdict_that_differs_is_told_with_its_answer(
    server: ChatServer, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STAND_IN", "lenient")
    assert run(arguments(server, data)) == 1
    told = capsys.readouterr().out
    assert "75.00      100.00   differs" in told
    assert "1 of 4 answers are judged otherwise." in told
    assert "3: wrong here, right there; gold 'D', read 'A' in 'A, I think'" in told
    assert told.endswith("The scores differ.\n")


def test_a_limit_asks_the_first_questions_only_with_images_that_stand_elsewhere(server: ChatServer, data: Path) -> None:
    assert run(arguments(server, data, "--limit", "2")) == 0
    shown = [each.body["messages"][0]["content"][0]["image_url"]["url"] for each in server.received]
    assert shown == [f"data:image/jpeg;base64,{IMAGE}"] * 2


def test_a_limit_needs_the_table(server: ChatServer, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "MMStar.tsv").unlink()
    assert run(arguments(server, data, "--limit", "2")) == 1
    assert "MMStar.tsv is not there, whose first questions were to be asked" in capsys.readouterr().err


def test_questions_without_an_answer_are_counted(
    server: ChatServer, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = lambda body: say(body) if len(server.received) > 1 else error_reply(500, "out of memory")
    assert run(arguments(server, data)) == 0
    assert "1 questions got no answer from the server, and count as wrong in both" in capsys.readouterr().out


def test_a_server_that_answers_nothing_agrees_with_nothing(
    server: ChatServer, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = lambda body: error_reply(404, "no such model")
    assert run(arguments(server, data)) == 1
    assert "None of 4 questions got an answer from the server" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "complaint"),
    [
        ("mute", "no table of predictions for MMStar. Its last lines:\nkey ***, judge exact_matching\nModel"),
        ("dead", "VLMEvalKit has ended with code 3. Its last lines:\nkey ***"),
        ("torn", "org_rr-student_v1_MMStar.tsv: row 5: 2 cells under 10 headings"),
    ],
)
def test_a_tool_that_fails_is_told_with_what_it_said_last(
    server: ChatServer,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    complaint: str,
) -> None:
    monkeypatch.setenv("STAND_IN", mode)
    assert run(arguments(server, data)) == 1
    assert complaint in capsys.readouterr().err


def test_a_tool_without_a_score_agrees_with_nothing(
    server: ChatServer, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STAND_IN", "unjudged")
    assert run(arguments(server, data)) == 1
    told = capsys.readouterr().out
    assert "does not tell its verdicts" in told
    assert told.endswith("VLMEvalKit came to no score: its log tells why.\n")


def test_a_missing_tool_is_told_with_how_to_get_it(
    server: ChatServer, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(server, data, tool=tmp_path)) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path} is no folder of VLMEvalKit's repository: it has no run.py" in told
    assert "git clone https://github.com/open-compass/VLMEvalKit" in told
    assert "--tool-path VLMEvalKit" in told
    bare = [each for each in arguments(server, data) if each not in ("--tool-path", str(TOOL))]
    assert run(bare) == 1
    assert capsys.readouterr().err.startswith("error: VLMEvalKit is not here.")


def test_a_benchmark_that_is_not_scored_here_is_told(
    server: ChatServer, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cross_checking, "BENCHMARKS", {"tabmwp": BENCHMARKS["tabmwp"]})
    assert run(arguments(server, data)) == 1
    assert "mmstar is no benchmark here yet: it may be tabmwp" in capsys.readouterr().err
    assert server.received == []


def check(folder: Path, name: str, rule: str | None = None) -> CrossCheck:
    """Cross-check what a run has left in a folder."""
    table = find_table(folder, "student", DATASETS[name].name)
    return compare(BENCHMARKS[name], read_findings(table, DATASETS[name], folder, None), rule)


def test_an_unknown_rule_is_told_before_anything_is_asked(
    server: ChatServer, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(server, data, "--rule", "newest")) == 1
    assert "'newest' is no rule of MMStar: it may be first-letter, vlmevalkit" in capsys.readouterr().err
    assert server.received == []


def test_a_cross_check_that_is_ended_ends_the_tool_too(server: ChatServer, data: Path) -> None:
    server.script = lambda body: ServerReply(body="A", delay_s=1.0)
    command = [sys.executable, "-m", "mmat_dagster", *arguments(server, data)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8") as process:
        while not server.received:
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        told = process.communicate()[1]
    assert (process.returncode, told) == (130, "error: interrupted; VLMEvalKit was ended\n")
    # The tool would ask the second question now.
    time.sleep(1.2)
    assert len(server.received) == 1


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of a run of the model `student`."""
    folder = tmp_path / "student" / "T20250101_G1a2b3c4d"
    folder.mkdir(parents=True)
    return folder


def test_an_older_version_leaves_excel_files(left: Path, tmp_path: Path) -> None:
    rows = predictions(*ANSWERS)
    write_xlsx(left / "student_MMStar.xlsx", rows)
    write_xlsx(left / "student_MMStar_openai_result.xlsx", [{**each, "hit": 1} for each in rows])
    write_tsv(left / "student_MMStar_acc.csv", [{"split": "none", "Overall": 1.0, "math": 1.0, "chess": 0.5}])
    found = check(tmp_path, "mmstar")
    assert [(each.output.item.id, each.theirs) for each in found.disputed] == [("3", True)]
    assert [(each.name, each.ours, each.theirs) for each in found.figures if each.theirs is not None] == [
        ("overall", 75.0, 100.0),
        ("math", 100.0, 100.0),
        ("chess", None, 50.0),
    ]


def test_verdicts_tell_the_version_of_the_rule_unless_one_is_named(left: Path, tmp_path: Path) -> None:
    rows = predictions("B, as the letter stands at the very beginning of what is said here", *ANSWERS[1:])
    rows[0]["answer"] = "B"
    write_tsv(left / "student_MMStar.tsv", rows)
    verdicts = [{**each, "hit": hit} for each, hit in zip(rows, (0, 1, 1, 0), strict=True)]
    write_tsv(left / "student_MMStar_exact_matching_result.tsv", verdicts)
    write_tsv(left / "student_MMStar_acc.csv", [{"split": "none", "Overall": 0.5}])
    found = check(tmp_path, "mmstar")
    assert (found.rule, found.disputed, found.is_agreed) == ("vlmevalkit-2025", (), True)
    usual = check(tmp_path, "mmstar", "vlmevalkit")
    assert ([each.output.item.id for each in usual.disputed], usual.is_agreed) == (["0"], False)


def test_a_difference_of_rounding_is_none(left: Path, tmp_path: Path) -> None:
    write_tsv(left / "student_MMStar.tsv", predictions("A", "B", "D", "D")[:3])
    write_tsv(left / "student_MMStar_acc.csv", [{"split": "none", "Overall": 0.6667}])
    assert check(tmp_path, "mmstar").is_agreed
    write_tsv(left / "student_MMStar_acc.csv", [{"split": "none", "Overall": 0.6671}])
    assert not check(tmp_path, "mmstar").is_agreed


def test_yes_and_no_agree_in_all_three_accuracies(left: Path, tmp_path: Path) -> None:
    places = {"VS_chart_1_0_1_0": "Yes", "VS_chart_1_0_2_0": "No", "VD_figure_1_0_0_0": "No", "VD_figure_1_0_1_0": "No"}
    rows: list[dict[str, object]] = [
        {
            "index": place,
            "category": place[:2],
            "l2-category": place.split("_")[1],
            "question": f"Is it so in {place}?",
            "answer": answer,
            "prediction": f"{answer if place != 'VD_figure_1_0_1_0' else 'Yes'}.",
        }
        for place, answer in places.items()
    ]
    write_tsv(left / "student_HallusionBench.tsv", rows)
    judged = [
        {**each, "extracted": str(each["prediction"])[:-1], "score": str(each["prediction"])[:-1] == each["answer"]}
        for each in rows
    ]
    write_tsv(left / "student_HallusionBench_auxmatch.tsv", judged)
    accuracies = [
        {"split": "Overall", "aAcc": 75.0, "fAcc": 75.0, "qAcc": 50.0},
        {"split": "VD", "aAcc": 50.0, "fAcc": 50.0, "qAcc": 0.0},
        {"split": "VS", "aAcc": 100.0, "fAcc": 100.0, "qAcc": 100.0},
    ]
    write_tsv(left / "student_HallusionBench_score.csv", accuracies)
    found = check(tmp_path, "hallusionbench")
    assert (found.compared, found.disputed) == (4, ())
    both = {each.name: each.ours for each in found.figures if each.theirs is not None}
    assert both["aAcc"] == 75.0
    assert {"overall", "fAcc", "qAcc", "VD", "VS fAcc"} <= both.keys()
    assert found.is_agreed


def test_ocrbench_counts_what_is_right(left: Path, tmp_path: Path) -> None:
    kinds = ("Doc-oriented VQA", "Doc-oriented VQA", "Regular Text Recognition")
    rows: list[dict[str, object]] = [
        {
            "index": n,
            "question": f"Read {n}.",
            "answer": f"['word{n}']",
            "category": kind,
            "prediction": f"It is word{n}",
        }
        for n, kind in enumerate(kinds)
    ]
    write_tsv(left / "student_OCRBench.tsv", rows)
    score = {"Text Recognition": 1, "Doc-oriented VQA": 2, "Final Score": 3, "Final Score Norm": 0.3}
    write_json(left / "student_OCRBench_score.json", score)
    found = check(tmp_path, "ocrbench")
    assert found.is_agreed
    assert ("Text Recognition", 1.0, 1.0) in [(each.name, each.ours, each.theirs) for each in found.figures]


def test_mathvistas_scores_stand_below_each_other(left: Path) -> None:
    rows = [{"index": 1, "question": "How many?", "answer": "2", "prediction": "2"}]
    table = write_tsv(left / "student_MathVista_MINI.tsv", rows)
    write_tsv(left / "student_MathVista_MINI_gpt-4o-mini.tsv", [{**rows[0], "res": "2", "log": "Prefetch succeed"}])
    scores = [
        {"Task&Skill": "Overall", "tot": 1, "hit": 1, "acc": 100.0},
        {"Task&Skill": "scientific reasoning", "tot": 1, "hit": 1, "acc": 100.0},
    ]
    write_tsv(left / "student_MathVista_MINI_gpt-4o-mini_score.csv", scores)
    found = read_findings(table, DATASETS["mathvista"], left, None)
    assert found.scores is not None
    assert (found.scores.overall, dict(found.scores.figures)) == (100.0, {"scientific reasoning": 100.0})
    assert found.judged == {}
    assert json.loads(found.answers.read_text("utf-8")) == {"id": "1", **rows[0], "index": "1", "response": "2"}


class Renamed(MMStar):
    """Calls its items otherwise than the tables do."""

    def item_of(self, row: Row) -> Item:
        """Return an item whose name is another one's index."""
        return replace(super().item_of(row), id=str(len(QUESTIONS) - 1 - int(str(row.fields["index"]))))


def test_verdicts_are_those_of_the_same_answers_whatever_both_call_them(left: Path, tmp_path: Path) -> None:
    rows = predictions(*ANSWERS)
    table = write_tsv(left / "student_MMStar.tsv", rows)
    verdicts = [{**each, "hit": hit} for each, hit in zip(rows, (1, 1, 1, 0), strict=True)]
    write_tsv(left / "student_MMStar_exact_matching_result.tsv", verdicts)
    found = compare(Renamed(), read_findings(table, DATASETS["mmstar"], tmp_path, None))
    assert (found.compared, found.disputed) == (4, ())


def test_every_benchmark_that_vlmevalkit_is_asked_for_is_scored_here() -> None:
    assert DATASETS.keys() <= BENCHMARKS.keys()


def test_of_several_splits_the_published_one_counts(left: Path) -> None:
    table = write_tsv(left / "student_MMMU_DEV_VAL.tsv", predictions("A"))
    splits = [{"split": "dev", "Overall": 0.25}, {"split": "validation", "Overall": 0.5}]
    write_tsv(left / "student_MMMU_DEV_VAL_acc.csv", splits)
    found = read_findings(table, DATASETS["mmmu"], left, None)
    assert found.scores is not None
    assert found.scores.overall == 50.0


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("student_MMStar.tsv", "index\tquestion\n1\tWhich?\n", "has no column prediction"),
        ("student_MMStar.tsv", "index\tprediction\n", "student_MMStar.tsv has no rows"),
        ("student_MMStar.xlsx", "no zip", "student_MMStar.xlsx cannot be read: .* no Excel file"),
        ("student_MMStar_acc.csv", "split,Total\nnone,1\n", "student_MMStar_acc.csv has another form .* 'overall'"),
        ("student_MMStar_acc.csv", "split,Overall\nnone,high\n", "has another form than its scores had: could not"),
        ("student_MMStar_acc.csv", "", "student_MMStar_acc.csv has no rows"),
    ],
)
def test_a_file_that_breaks_is_told(left: Path, tmp_path: Path, name: str, text: str, complaint: str) -> None:
    if name.endswith("_acc.csv"):
        write_tsv(left / "student_MMStar.tsv", predictions(*ANSWERS))
    (left / name).write_text(text, "utf-8")
    with pytest.raises(ToolFailed, match=complaint):
        check(tmp_path, "mmstar")


def test_answers_that_belong_to_no_question_here_are_told(left: Path, tmp_path: Path) -> None:
    rows = predictions(*ANSWERS)
    rows[0]["question"] = ""
    write_tsv(left / "student_MMStar.tsv", rows)
    assert len(check(tmp_path, "mmstar").unreadable) == 1
    write_tsv(left / "student_MMStar.tsv", rows[:1])
    with pytest.raises(ScoringError, match="holds no answer to MMStar"):
        check(tmp_path, "mmstar")
