"""Ray makes the parts of a stage: the same bytes as this process makes, whatever becomes of a node meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from tests import postgres, ray_cluster
from tests.processes import wait_until
from tests.ray_cluster import KEY, TwoNodes
from tests.ray_jobs import run_head
from tests.teacher_server import Behaviour, TeacherServer
from tests.teaching import write_problems
from tests.test_teacher_kill import read_books

cluster = ray_cluster.cluster

TOKEN = "the-t0ken-of-the-cluster"
ROOT = Path(__file__).resolve().parents[1]
# Dialogues under way in one worker: more calls at once than this are under way in two.
CONCURRENCY = 4
PATIENCE_S = 900.0
LAUNCHER = """
run_launcher:
  module: dagster_ray
  class: RayRunLauncher
  config:
    ray:
      address: {address}
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
telemetry: {{enabled: false}}
"""
# A worker whose node is gone notices within a second or so: its calls take longer.
QUICK, SLOW = Behaviour(), Behaviour(delay_s=1.5)
OFF = "ocr=off,label_bbox=off,face_detection=off,image_caption=off"
WITH_OCR = OFF.replace("ocr=off", "ocr=rapidocr")


@contextmanager
def building(folder: Path, store: str, server: TeacherServer, **variables: str) -> "Iterator[subprocess.Popen[str]]":
    """Run the command that builds the RR dialogues of `folder`'s problems into a store below it."""
    environment = {**os.environ, **variables_of(folder, store, server), **variables}
    command = [sys.executable, "-m", "mmat_dagster", "materialize", "rr_dialogues", "--source", "tabmwp"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def variables_of(folder: Path, store: str, server: TeacherServer) -> dict[str, str]:
    """Return the environment of a run over `folder`'s problems."""
    return {
        "PYTHONPATH": str(ROOT),
        "DAGSTER_HOME": "",
        "MMAT_SOURCES": str(folder / "sources"),
        "MMAT_STORE": str(folder / store),
        "MMAT_LEDGER": str(folder / f"{store}.sqlite"),
        "MMAT_TEACHER": "gpt4o",
        "MMAT_MODEL": "scripted",
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": KEY,
        "MMAT_PART_ROWS": "6",
        "MMAT_CONCURRENCY": str(CONCURRENCY),
    }


def build(folder: Path, store: str, server: TeacherServer, **variables: str) -> dict[str, bytes]:
    """Build them, and return the files of the datasets."""
    with building(folder, store, server, **variables) as process:
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    return dataset_files(folder / store)


def dataset_files(store: Path) -> dict[str, bytes]:
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for dataset in ("source_qa", "rationales", "rr_dialogues")
        for path in sorted((store / dataset).rglob("*"))
        if path.suffix in {".parquet", ".json"}
    }


@pytest.mark.parametrize(
    ("problems", "kills", "operators"), [(24, 1, OFF), pytest.param(240, 4, WITH_OCR, marks=pytest.mark.long)]
)
def test_neither_an_ended_run_nor_a_lost_node_costs_what_was_answered(
    cluster: TwoNodes, tmp_path: Path, problems: int, kills: int, operators: str
) -> None:
    write_problems(tmp_path / "sources", range(1, problems + 1))
    with TeacherServer(QUICK) as server:
        expected = build(tmp_path, "local", server, MMAT_OPERATORS=operators)
    ray = {"MMAT_ENGINE": "ray", "MMAT_RAY_ADDRESS": cluster.address, "MMAT_LEDGER": cluster.ledger}
    ray["MMAT_OPERATORS"] = operators
    home = make_home(tmp_path)
    with TeacherServer(SLOW) as server:
        with building(tmp_path, "ray", server, **ray) as process:
            wait_until(lambda: server.in_flight_peak > CONCURRENCY or process.poll() is not None, PATIENCE_S)
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=PATIENCE_S)
        assert "interrupted" in said, said[-3000:]
        books = read_books(cluster.ledger)
        assert (books.account.lost_calls, books.left, server.paid_unseen.total()) == (0, 0, 0)
        assert 0 < books.replies == server.paid.total()
        with building(tmp_path, "ray", server, **ray, DAGSTER_HOME=str(home)) as process:
            for _ in range(kills):
                cluster.add_second()
                server.ledger.in_flight_peak = 0
                wait_until(lambda: server.in_flight_peak > CONCURRENCY or process.poll() is not None, PATIENCE_S)
                assert process.poll() is None, process.communicate()
                cluster.kill_second()
            cluster.add_second()
            said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
        books, charged = read_books(cluster.ledger), server.paid + server.paid_unseen
    assert dataset_files(tmp_path / "ray") == expected
    assert books.replies == books.account.calls == len(charged)
    assert charged.total() - len(charged) <= books.account.lost_calls <= kills * CONCURRENCY
    assert books.account.lost_calls > 0
    assert books.left == 0
    assert [line.split()[0] for line in said.splitlines() if line] == ["source", "tabmwp"], said
    assert any("a worker was lost, or its machine: part" in line for line in logged(home))


def make_home(folder: Path) -> Path:
    """Make the home of a Dagster instance that keeps what runs log, and says nothing of itself."""
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder / "home"


def logged(home: Path) -> list[str]:
    """Return what the log of the one run of an instance says."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        return [entry.user_message for entry in instance.all_logs(run.run_id)]


@pytest.mark.long
def test_a_cluster_that_asks_for_a_token_makes_the_parts_of_who_shows_it_and_tells_others_what_to_set(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ray_cluster.require_ray()
    write_problems(tmp_path / "sources", range(1, 25))
    with TeacherServer(QUICK) as server:
        expected = build(tmp_path, "local", server, MMAT_OPERATORS=OFF)
    ledger = postgres.fresh_database(request.config)
    # A user's own token is nothing that a cluster would take.
    own = {**ray_cluster.QUIET, "HOME": str(tmp_path), "MMAT_LEDGER": ledger, "MMAT_OPERATORS": OFF}
    own["DAGSTER_HOME"] = str(make_home(tmp_path))
    wants = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    machines = {**own, **wants, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY}
    with TeacherServer(QUICK) as server, run_head(ROOT, machines) as head:
        run = {**own, "MMAT_ENGINE": "ray", "MMAT_RAY_ADDRESS": head.address}
        for shown, told in (
            ({}, "asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to that of the cluster's machines"),
            ({**wants, "RAY_AUTH_TOKEN": "c4nary"}, "refuses the token that it is shown: set RAY_AUTH_TOKEN to that"),
            ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE is token, and there is no token: set RAY_AUTH_TOKEN"),
        ):
            with building(tmp_path, "ray", server, **run, **shown) as process:
                said, _ = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 1
            *_, last = said.strip().splitlines()
            assert len(said.strip().splitlines()) == 2, said
            assert told in last
            assert "c4nary" not in said
        assert not server.received
        with building(tmp_path, "ray", server, **run, **wants) as process:
            said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
    assert TOKEN not in said
    assert dataset_files(tmp_path / "ray") == expected


@pytest.mark.long
def test_a_run_is_a_job_of_the_cluster_by_dagster_rays_launcher(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_cluster.require_ray()
    write_problems(tmp_path / "sources", range(1, 25))
    with TeacherServer(QUICK) as server:
        expected = build(tmp_path, "local", server, MMAT_OPERATORS=OFF)
    home = tmp_path / "home"
    home.mkdir()
    ledger = postgres.fresh_database(request.config)
    with TeacherServer(QUICK) as server:
        variables = variables_of(tmp_path, "ray", server) | {
            "MMAT_OPERATORS": OFF,
            "MMAT_ENGINE": "ray",
            "MMAT_RAY_ADDRESS": "auto",
            "DAGSTER_HOME": str(home),
            "MMAT_LEDGER": ledger,
        }
        # The cluster's machines have the programs of this environment.
        variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with ray_cluster.running(ledger, include_dashboard=True) as nodes:
            (home / "dagster.yaml").write_text(LAUNCHER.format(address=nodes.job_server))
            command = ["dagster", "job", "launch", "-m", "mmat_dagster.definitions", "-j", "data"]
            command += ["--tags", '{"dagster/partition": "tabmwp"}']
            done = subprocess.run([Path(sys.executable).parent / command[0], *command[1:]], cwd=ROOT, check=False)
            assert done.returncode == 0
            with dg.DagsterInstance.from_config(str(home)) as instance:
                (run,) = instance.get_runs()
                wait_until(lambda: instance.get_run_by_id(run.run_id).is_finished, PATIENCE_S)  # type: ignore[union-attr]
                assert instance.get_run_by_id(run.run_id).is_success, instance.all_logs(run.run_id)  # type: ignore[union-attr]
        books = read_books(ledger)
        assert books.replies == server.paid.total()
    assert dataset_files(tmp_path / "ray") == expected
