"""The command line: builds, shows, generates, and fails with one clear sentence."""

import io
import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest

from mmat_dagster import cli, runs
from mmat_dagster.sources import READERS, check_layout
from mmat_dagster.training.checkpoints import read_current
from mmat_dagster.training.students import STUDENTS
from resources.store import LocalStore
from tests import instances
from tests.commands import compose, make_home, set_environment
from tests.fakes import ToldExecutor
from tests.layouts import write_tabmwp
from tests.test_checkpoint_assets import TRAINED
from tests.test_pipeline import pipeline

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settle(monkeypatch, tmp_path)


def settle(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have the commands read their sources from below `folder`, write there, and look with one process."""
    (folder / "sources").mkdir()
    variables = {
        "DAGSTER_HOME": str(make_home(folder)),
        "MMAT_STORE": str(folder / "store"),
        "MMAT_SOURCES": str(folder / "sources"),
        "MMAT_WORKERS": "1",
    }
    set_environment(monkeypatch, variables)


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m mmat_dagster` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-m", "mmat_dagster", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


@pytest.fixture
def _graph_of_this_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let commands that run in this process build with what the environment names, as one of their own would."""
    instances.begin_history(tmp_path / "home")
    compose(monkeypatch)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """Build the audit of two problems in a process of its own; return the folder and how the process ended."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as environment:
        settle(environment, folder)
        write_tabmwp(folder / "sources", 2)
        done = call("materialize", "dialogue_audit")
    return folder, done


def test_materialize_builds_what_is_there_and_names_what_is_absent(
    audited: tuple[Path, "subprocess.CompletedProcess[str]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, done = audited
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["tabmwp"].split()[1:] == ["2", "0"]
    assert "absent: there is no folder" in rows["llava_cot"]
    monkeypatch.setenv("MMAT_STORE", str(folder / "store"))
    for _ in range(2):  # more than once: a crash in pyarrow's threads at the end of the process came and went
        shown = call("show", "rr_dialogues", "-n", "1")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "How much do 1 kilograms of sand cost?" in shown.stdout
        assert "thought 1" in shown.stdout


def test_an_audit_is_shown_and_counted_like_any_dataset(
    audited: tuple[Path, "subprocess.CompletedProcess[str]"],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MMAT_STORE", str(audited[0] / "store"))
    assert cli.run(["show", "dialogue_audit", "--source", "tabmwp"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "tabmwp/1 · score 1.00 · judge: checks"
    assert "Every check holds." in shown
    assert call("status").stdout.split().count("dialogue_audit") == 1


def test_a_person_at_a_terminal_sees_a_progress_bar(tmp_path: Path) -> None:
    write_tabmwp(tmp_path / "sources", 2)
    instances.begin_history(tmp_path / "home")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seen = b""
    person, command = pty.fork()
    if person == 0:  # pragma: no cover
        arguments = ["-W", "ignore", "-m", "mmat_dagster", "materialize", "source_qa", "--source", "tabmwp"]
        os.execve(sys.executable, [sys.executable, *arguments], environment)
    with suppress(OSError):  # Linux ends a terminal without readers like this
        while piece := os.read(command, 4096):
            seen += piece
    _, status = os.waitpid(person, 0)
    assert status == 0
    assert b"source_qa of tabmwp: 2 samples" in seen
    assert b"tabmwp                 2         0" in seen


def test_a_folder_of_sources_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sources").rmdir()
    assert cli.run(["materialize", "rr_dialogues"]) == 1
    told = capsys.readouterr().err
    assert told == f"error: MMAT_SOURCES names {tmp_path / 'sources'}, and there is no such folder\n"


@pytest.mark.usefixtures("_graph_of_this_environment")
def test_a_source_that_fails_is_told_and_counts_in_the_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sources" / "tabmwp").mkdir()
    assert cli.run(["materialize", "source_qa", "--source", "tabmwp"]) == 1
    told = capfd.readouterr()
    assert "holds none of its annotation files. It should hold" in told.out
    assert "Traceback" not in told.out + told.err


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    write_tabmwp(tmp_path / "sources", 1)
    (tmp_path / "store").write_text("a file where the folder should be")
    done = call("materialize", "source_qa", "--source", "tabmwp")
    assert done.returncode == 1
    assert "Set MMAT_STORE to a folder that you may write to" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_checkpoint_of_all_sources_is_trained_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tabmwp(tmp_path / "sources", 2)
    instances.begin_history(tmp_path / "home")
    resources = {"pipeline": pipeline(tmp_path), "training_executor": ToldExecutor(), "student": STUDENTS["tiny"]}
    told = dg.Definitions(assets=TRAINED, resources=resources, executor=dg.in_process_executor)
    monkeypatch.setattr(runs, "defs", told)
    assert cli.run(["materialize", "rr_checkpoint"]) == 0
    _, row = capsys.readouterr().out.splitlines()
    current = read_current(LocalStore(root=str(tmp_path / "store")), "rr_checkpoint", "mmat_1m")
    assert current is not None
    assert row.split() == ["mmat_1m", "2", "0.5000", current.folder]
    assert cli.run(["materialize", "orr_checkpoint", "--source", "llava_cot"]) == 1
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["mixture", "steps", "loss", "orr_checkpoint", "in", str(tmp_path / "store")]
    assert "failed: orr_checkpoint of llava_cot was not trained. The source llava_cot was looked for" in row


def test_sample_writes_folders_that_the_readers_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sample", "--records", "3", "--out", str(tmp_path / "corpus"), "--source", "tabmwp"]) == 0
    assert f"MMAT_SOURCES={tmp_path / 'corpus'}" in capsys.readouterr().out
    folder = check_layout("tabmwp", tmp_path / "corpus" / "tabmwp")
    assert len(list(READERS["tabmwp"].read(folder))) == 3


def test_sample_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sample", "--records", "1", "--out", str(tmp_path / "corpus"), "--source", "tabmwp"]
    assert cli.run(arguments) == 0
    assert cli.run(arguments) == 1
    assert "is there already; nothing was overwritten" in capsys.readouterr().err


def test_show_says_what_to_build_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["show", "rr_dialogues"]) == 1
    assert "python -m mmat_dagster materialize rr_dialogues" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["show", "nonsense"], ["materialize", "rr_dialogues", "--source", "imagenet"]])
def test_unknown_names_are_refused_with_the_known_ones(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.run(arguments)
    assert "invalid choice" in capsys.readouterr().err


@pytest.mark.usefixtures("_graph_of_this_environment")
def test_show_prints_rejections_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tabmwp(tmp_path / "sources", 2)
    (tmp_path / "sources" / "tabmwp" / "tables" / "1.png").unlink()
    assert cli.run(["materialize", "source_qa", "--source", "tabmwp"]) == 0
    capsys.readouterr()
    assert cli.run(["show", "source_qa", "--rejected"]) == 0
    assert capsys.readouterr().out == "tabmwp/1\n  source_qa: missing image\n  tables/1.png\n\n"
    assert cli.run(["show", "source_qa", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == ["4"]


def test_env_sh_makes_the_plain_commands_work(tmp_path: Path) -> None:
    script = (
        f"source {ROOT}/env.sh; dagster() {{ :; }}; unset -f dagster; source {ROOT}/env.sh; "
        'command() { shift; echo "$DAGSTER_MODULE_NAME [$DAGSTER_CLI_ASSET_MATERIALIZE_PARTITION_RANGE] $*"; }; '
        "dagster asset materialize --select rr_dialogues; "
        "dagster asset materialize --select rr_dialogues --partition tabmwp"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "mmat_dagster.definitions [visual_cot...infoseek] asset materialize --select rr_dialogues",
        "mmat_dagster.definitions [] asset materialize --select rr_dialogues --partition tabmwp",
    ]


def test_the_plain_dagster_command_builds_what_is_there(tmp_path: Path) -> None:
    write_tabmwp(tmp_path / "sources", 2)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    script = f"source {ROOT}/env.sh; export PATH={path}; dagster asset materialize --select rr_dialogues"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment, timeout=240, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "rr_dialogues of tabmwp: 2 in, 2 out, 0 rejected" in done.stderr
    assert "rr_dialogues of llava_cot was not built" in done.stderr
    assert cli.run(["show", "rr_dialogues", "--source", "tabmwp", "-n", "2"]) == 0


def test_dagster_dev_finds_the_project_by_its_workspace_file_alone(tmp_path: Path) -> None:
    # With the variable set too, its webserver ends before it serves a page, and tells nobody.
    told = tmp_path / "dagster"
    told.write_text('#!/bin/sh\necho "${DAGSTER_MODULE_NAME:-none}"\n')
    told.chmod(0o755)
    script = f"source {ROOT}/env.sh; PATH={tmp_path}:$PATH; dagster dev; dagster asset list"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["none", "mmat_dagster.definitions"]


def break_a_pipe(options: object) -> int:
    raise BrokenPipeError


def test_a_pipe_that_breaks_elsewhere_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_status", break_a_pipe)
    with pytest.raises(BrokenPipeError):
        cli.run(["status"])


def print_much(options: object) -> int:
    print("a line\n" * 100_000)  # noqa: T201
    return 1


def test_a_reader_who_has_seen_enough_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(cli, "_status", print_much)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    broken = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", broken)
    assert cli.run(["status"]) == 0
    with suppress(BrokenPipeError):
        broken.close()
