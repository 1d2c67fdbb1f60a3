"""The commands about money as a person types them: estimate, materialize under a budget, ledger, batches."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmat_dagster import cli
from tests.commands import compose, set_environment
from tests.layouts import write_tabmwp
from tests.teacher_server import Behaviour, TeacherServer

ROOT = Path(__file__).resolve().parents[1]
MODEL = "gpt-4o-2024-11-20"
KEY = "sk-proj-never-told-0123456789"
TIMEOUT_S = 240

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with TeacherServer(Behaviour(models={MODEL: None}, key=KEY, prompt_cache=True)) as running:
        yield running


@pytest.fixture
def variables(tmp_path: Path, server: TeacherServer) -> dict[str, str]:
    """Return the environment of a folder of its own, with a source of three problems."""
    write_tabmwp(tmp_path / "sources", 3)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return {
        "MMAT_TEACHER": "gpt4o",
        "MMAT_SOURCES": str(tmp_path / "sources"),
        "MMAT_WORKERS": "1",
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": KEY,
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture
def command(tmp_path: Path, variables: dict[str, str]) -> Run:
    """Return a function that runs a command in that folder, in a process of its own."""

    def run(*arguments: str, **others: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "mmat_dagster", *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables, **others},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    return run


@pytest.fixture
def typed(tmp_path: Path, variables: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command in that folder, in this process."""

    def run(*arguments: str, **others: str) -> "subprocess.CompletedProcess[str]":
        with pytest.MonkeyPatch.context() as patch:
            set_environment(patch, variables | others)
            patch.chdir(tmp_path)
            compose(patch)
            code = cli.run(arguments)
        told = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, told.out, told.err)

    return run


def test_an_estimate_tells_calls_tokens_dollars_and_time_and_asks_nobody(typed: Run, server: TeacherServer) -> None:
    done = typed("estimate", "--source", "tabmwp", MMAT_RPM="1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:5] == ["source", "samples", "dataset", "calls", "tokens"]
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["tabmwp", "3", "rationales", "9"],
        ["tabmwp", "3", "rr_dialogues", "6"],
        ["tabmwp", "3", "both", "15"],
    ]
    assert lines[3].endswith("15 min")  # fifteen calls at one a minute
    assert "supposed: 3 steps a rationale" in done.stdout
    assert server.ledger.calls == {}


def test_an_estimate_of_a_teacher_that_costs_nothing_says_so(typed: Run) -> None:
    done = typed("estimate", MMAT_TEACHER="annotations")
    assert (done.returncode, "costs nothing" in done.stdout) == (0, True)


def test_an_estimate_of_a_source_that_is_not_there_is_an_error(typed: Run) -> None:
    done = typed("estimate", "--source", "infoseek")
    assert done.returncode == 1
    assert "error: " in done.stdout
    assert "infoseek" in done.stdout


def test_a_budget_stops_a_run_and_a_higher_one_goes_on_from_there(typed: Run, server: TeacherServer) -> None:
    assert typed("ledger").stdout == "Nothing was paid yet.\n"
    stopped = typed("materialize", "rr_dialogues", "--source", "tabmwp", MMAT_BUDGET_USD="0.04")
    assert stopped.returncode == 1
    assert "the budget of $0.04 in all is reached" in stopped.stdout
    assert "raise `budget_usd` and run again to go on" in stopped.stdout
    paid = sum(server.paid.values())
    assert paid > 0
    done = typed("materialize", "rr_dialogues", "--source", "tabmwp", MMAT_BUDGET_USD="5")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[1].split()[:3] == ["tabmwp", "3", "0"]
    assert sum(server.paid.values()) > paid
    assert max(server.paid.values()) == 1
    ledger = typed("ledger").stdout
    assert f"{MODEL}   rationales of tabmwp" in ledger
    assert ledger.splitlines()[-1].split()[:3] == ["in", "all", str(sum(server.paid.values()))]
    for told in (stopped, done):
        assert KEY not in told.stdout + told.stderr


def test_batches_are_waited_for_or_gone_on_with_by_hand(command: Run, typed: Run, server: TeacherServer) -> None:
    first = command("materialize", "rationales", "--source", "tabmwp", MMAT_MODE="batch")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "waiting for a batch: rationales of tabmwp" in first.stdout
    listed = typed("batches", "--wait", "--poll-s", "1").stdout
    assert listed.splitlines()[1].split()[1:7] == ["rationales", "of", "tabmwp", "ended", "3", "3"]
    done = command("materialize", "rr_dialogues", "--source", "tabmwp", "--wait", "--poll-s", "1", MMAT_MODE="batch")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].split()[:3] == ["tabmwp", "3", "0"]
    assert max(server.paid.values()) == 1
    assert server.received == []  # nothing was asked but in batches


def test_a_model_that_is_not_there_is_told_before_anything_is_spent(typed: Run, server: TeacherServer) -> None:
    done = typed("materialize", "rationales", "--source", "tabmwp", MMAT_MODEL="gpt-5o")
    assert done.returncode == 1
    assert f"does not know the model gpt-5o: set `model` (MMAT_MODEL) to one of {MODEL}" in done.stdout
    assert not server.paid
