"""The student `tiny` examined for real: its own server, the whole loop, BLINK's questions with their images."""

import json
import os
from pathlib import Path

import pytest

if not os.environ.get("MMAT_REQUIRE_TRAINING"):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    pytest.importorskip("uvicorn")

from mmat_dagster.evaluation.board import Board, Plan, Scored
from mmat_dagster.evaluation.results import read_answers
from mmat_dagster.ledger.ledger import close_ledger, open_ledger
from mmat_dagster.training.students import STUDENTS
from resources.store import LocalStore
from resources.student_hosts import TransformersHost
from resources.training_executor import LocalTrainingExecutor
from tests.examined import make_tools
from tests.pictures import encoded, photo
from tests.test_pipeline import EndlessOcr

REAL = Path(__file__).parents[2] / "shared" / "data" / "benchmarks"
QUESTIONS = 20


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    """Return the folder of BLINK: the published one where it is, else 20 questions in the same form."""
    if (REAL / "blink").is_dir():
        return REAL
    for number in range(QUESTIONS):
        name = f"val_Spatial_Relation_{number}"
        folder = tmp_path / "benchmarks" / "blink" / "tasks" / "blink_spatial" / "processed" / name
        folder.mkdir(parents=True)
        (folder / "image.jpg").write_bytes(encoded(photo(number, (60, 40))))
        request = {
            "query": f"<img src='{name}/image.jpg'> Is the car under the cat {number}?\n"
            "Select from the following choices.\n(A) yes\n(B) no",
            "images": [f"{name}/image.jpg"],
            "answer": "(A)",
        }
        (folder / "request.json").write_text(json.dumps(request))
    return tmp_path / "benchmarks"


def examined(folder: Path, benchmarks: Path, *variants: str) -> list[Scored]:
    """Examine `tiny` as it is before training; its replies are short, for they never end."""
    store = LocalStore(root=str(folder / "store"))
    host = TransformersHost(
        executor=LocalTrainingExecutor(),
        ledger=f"sqlite:///{folder / 'ledger.sqlite'}",
        folder=str(folder / "serving"),
        max_completion_tokens=12,
    )
    board = Board(store=store, host=host, tools=make_tools(EndlessOcr()))
    plan = Plan(
        mixture="tabmwp",
        student=STUDENTS["tiny"],
        folder=benchmarks,
        variants=variants,
        benchmarks=("blink",),
        limit=QUESTIONS,
    )
    candidates, _ = board.candidates(plan)
    asked, _ = board.ask(plan)
    return list(board.examine(plan, candidates, asked, lambda examination, answered, score: None))


def test_tiny_answers_twenty_questions_with_images_directly_and_as_an_agent(tmp_path: Path, benchmarks: Path) -> None:
    base, agent = examined(tmp_path, benchmarks, "base", "rr untuned")
    assert [each.result.n for each in (base, agent)] == [QUESTIONS] * 2
    store = LocalStore(root=str(tmp_path / "store"))
    answers = read_answers(store, base.result)
    assert all(each.images for each in answers)
    assert all(each.prompt_tokens > 0 and each.completion_tokens > 0 for each in answers)
    # Pixels count: the same words about other pictures are other answers.
    assert len({each.response for each in answers}) > 1
    # Nobody has taught it the form: it is reminded, and asked for its answer all the same.
    assert agent.result.failures == {"malformed turn": QUESTIONS}
    assert agent.result.reminders == 2 * QUESTIONS
    assert all(each.messages[-1].role == "assistant" for each in read_answers(store, agent.result))
    results_that_are_lost_are_answered_from_the_ledger(tmp_path, benchmarks, base)


def results_that_are_lost_are_answered_from_the_ledger(folder: Path, benchmarks: Path, first: Scored) -> None:
    for file in (folder / "store" / "benchmark_scores").rglob("result.json"):
        file.unlink()
    url = f"sqlite:///{folder / 'ledger.sqlite'}"
    ledger = open_ledger(url)
    calls = ledger.account().calls
    (again,) = examined(folder, benchmarks, "base")
    assert not again.is_reused
    assert again.result.figures == first.result.figures
    assert ledger.account().calls == calls >= QUESTIONS
    close_ledger(url)
