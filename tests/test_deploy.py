"""What `deploy/` holds works: instances load, commands run on a real PostgreSQL, and killed runs are made good."""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.instance.config import dagster_instance_config

from mmat_dagster import parts
from mmat_dagster.environment import DEPLOYMENTS
from mmat_dagster.schema import SourceName
from resources.store import LocalStore
from tests import postgres
from tests.layouts import write_tabmwp

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
SOURCES: tuple[SourceName, ...] = get_args(SourceName)
MONITORING = "poll_interval_seconds: 60"
UP_S, RUNS_S = 180.0, 900.0
# A backfill would be one run over all five: their policy is `single_run`.
LAUNCH = """
mutation Go($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
ORIGIN = {"repositoryLocationName": "mmat_dagster", "repositoryName": "__repository__"}
SWITCH_ON = """
mutation ($sensor: SensorSelector!) {
  startSensor(sensorSelector: $sensor) { __typename ... on PythonError { message } }
}
"""
AGAIN = """
mutation Again($parent: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: ALL_STEPS}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""

postgres_url = postgres.postgres_url


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def clean(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which nothing is set but what a process needs anyway, and `variables`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **variables}


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_definitions_load_without_credentials_or_network(deployment: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "mmat_dagster.definitions"],
        cwd=tmp_path,
        env=clean({"MMAT_DEPLOYMENT": deployment, "DAGSTER_HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Validation successful" in ended.stderr + ended.stdout


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_an_instance_is_one_that_dagster_knows(
    deployment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMAT_DAGSTER_DB", "postgresql+psycopg2://host/dagster")
    monkeypatch.setenv("MMAT_LOGS_BUCKET", "logs")
    shutil.copy(DEPLOY / deployment / "dagster.yaml", tmp_path)
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["storage"]["postgres"]["postgres_url"] == {"env": "MMAT_DAGSTER_DB"}
    assert config["telemetry"] == config["nux"] == {"enabled": False}


def test_compose_names_what_is_there() -> None:
    services = compose()["services"]
    assert {*services} == {"postgres", "code", "webserver", "daemon"}
    for name in ("code", "webserver", "daemon"):
        assert services[name]["restart"] == "unless-stopped"
        program, *arguments = services[name]["command"]
        assert shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        files = [argument for argument in arguments if argument.endswith(".yaml")]
        assert all((ROOT / file).is_file() for file in files)
    assert services["webserver"]["ports"] == ["127.0.0.1:3000:3000"]
    for deployment in DEPLOYMENTS:
        lines = (DEPLOY / deployment / "mmat.env").read_text().splitlines()
        names = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]
        assert "MMAT_STORE" in names
        assert not [name for name in names if re.search("KEY|TOKEN|PASSWORD|SECRET", name)]


@contextmanager
def started(service: str, folder: Path, variables: Mapping[str, str], words: Mapping[str, str]) -> Iterator[None]:
    """Run the command of a service of the compose file, some of its words replaced."""
    command = [words.get(word, word) for word in compose()["services"][service]["command"]]
    command[0] = str(Path(sys.executable).parent / command[0])
    with (folder / f"{service}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=clean(variables), stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return str(listening.getsockname()[1])


def is_listening(port: str) -> bool:
    with socket.create_connection(("127.0.0.1", int(port)), 1):
        return True


def wait(until: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = until()
        except (OSError, http.client.HTTPException):
            found = None
        if found:
            return found
        time.sleep(0.5)
    raise TimeoutError(what)


def ask(port: str, query: str, **variables: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    try:
        body = json.dumps({"query": query, "variables": variables})
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert "errors" not in answer, answer
    return answer["data"]


def process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the process that executes a run's steps, once it does."""
    for entry in instance.all_logs(run_id):
        found = re.search(r"in process \(pid: (\d+)\)", entry.user_message or entry.message or "")
        if found:
            return int(found[1])
    return None


@contextmanager
def deployment(folder: Path, runs: str, ledger: str, **further: str) -> Iterator[str]:
    """Run the compose file's own commands on this machine, all on loopback; give the webserver's port."""
    home, web, code = folder / "home", free_port(), free_port()
    home.mkdir()
    settings = (DEPLOY / "local" / "dagster.yaml").read_text().replace("/var/lib/mmat", str(folder))
    assert MONITORING in settings
    settings = settings.replace(MONITORING, "poll_interval_seconds: 3")
    (home / "dagster.yaml").write_text(settings.replace("max_concurrent_runs: 2", "max_concurrent_runs: 5"))
    workspace = (DEPLOY / "workspace.yaml").read_text().replace("host: code", "host: 127.0.0.1")
    (folder / "workspace.yaml").write_text(workspace.replace("4000", code))
    variables = {
        "DAGSTER_HOME": str(home),
        "MMAT_DAGSTER_DB": runs,
        "MMAT_LEDGER": ledger,
        "MMAT_STORE": str(folder / "store"),
        "MMAT_WORKERS": "1",
        "OMP_NUM_THREADS": "1",
        **further,
    }
    words = {
        "0.0.0.0": "127.0.0.1",  # noqa: S104
        "4000": code,
        "3000": web,
        "deploy/workspace.yaml": "workspace.yaml",
    }
    with ExitStack() as services, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("MMAT_DAGSTER_DB", runs)
        services.enter_context(started("code", folder, variables, words))
        wait(lambda: is_listening(code), UP_S, "the code server")
        services.enter_context(started("webserver", folder, variables, words))
        services.enter_context(started("daemon", folder, variables, words))
        wait(lambda: ask(web, "{ version }"), UP_S, "the webserver")
        yield web


@pytest.fixture
def runs_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a new database for Dagster's runs."""
    url = sa.make_url(postgres.fresh_database(request.config)).set(drivername="postgresql+psycopg2")
    return url.render_as_string(hide_password=False)


@pytest.mark.long
def test_the_five_sources_are_built_on_postgresql_though_two_of_their_runs_are_killed(
    postgres_url: str, runs_url: str, tmp_path: Path
) -> None:
    with deployment(tmp_path, runs_url, postgres_url) as web:
        for source in SOURCES:
            tags = {"tags": [{"key": "dagster/partition", "value": source}]}
            params = {"selector": {**ORIGIN, "jobName": "data"}, "executionMetadata": tags, "runConfigData": {}}
            launched = ask(web, LAUNCH, params=params)["launchRun"]
            assert launched["__typename"] == "LaunchRunSuccess", launched
        with dg.DagsterInstance.get() as instance:
            killed = kill_two(instance)
            runs = wait(lambda: ended(instance, len(SOURCES)), RUNS_S, "the five runs")
            failed = [run.run_id for run in runs if run.status is not dg.DagsterRunStatus.SUCCESS]
            assert {*failed} == {*killed}
            for run_id in killed:
                again = ask(web, AGAIN, parent=run_id)["launchRunReexecution"]
                assert again["__typename"] == "LaunchRunSuccess", again
            runs = wait(lambda: ended(instance, len(SOURCES) + 2), RUNS_S, "the two runs")
            assert sum(run.status is dg.DagsterRunStatus.SUCCESS for run in runs) == len(SOURCES)
    assert counts(tmp_path / "store") == counts_of_one_go(tmp_path)


@pytest.mark.long
def test_the_daemon_rebuilds_a_source_whose_folder_has_changed_and_no_other(
    postgres_url: str, runs_url: str, tmp_path: Path
) -> None:
    sources, store = tmp_path / "sources", LocalStore(root=str(tmp_path / "store"))
    write_tabmwp(sources, 3)
    settled = {"MMAT_SOURCES": str(sources), "MMAT_SETTLE_MINUTES": "0.05"}
    with deployment(tmp_path, runs_url, postgres_url, **settled) as web:
        switched = ask(web, SWITCH_ON, sensor={**ORIGIN, "sensorName": "changed_sources"})["startSensor"]
        assert switched["__typename"] == "Sensor", switched
        with dg.DagsterInstance.get() as instance:
            for rows, runs in ((3, 1), (5, 2)):
                write_tabmwp(sources, rows)
                asked = wait(partial(ended, instance, runs), RUNS_S, "the run that is asked for")
                assert {run.status for run in asked} == {dg.DagsterRunStatus.SUCCESS}
                assert {run.tags["dagster/partition"] for run in asked} == {"tabmwp"}
                manifest = parts.read_manifest(store, "orr_dialogues", "tabmwp")
                assert manifest is not None
                assert manifest.rows == rows


def kill_two(instance: dg.DagsterInstance) -> list[str]:
    """Kill the processes of two runs as soon as they do something, and return the runs."""
    killed: list[str] = []

    def kill_next() -> bool:
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            process = process_of(instance, run.run_id) if run.run_id not in killed else None
            if process is not None and len(killed) < 2:
                os.kill(process, signal.SIGKILL)
                killed.append(run.run_id)
        return len(killed) == 2

    wait(kill_next, RUNS_S, "two runs at work")
    return killed


def ended(instance: dg.DagsterInstance, count: int) -> list[dg.DagsterRun]:
    """Return all runs when there are so many, and all have ended."""
    runs = [*instance.get_runs()]
    return runs if len(runs) == count and all(run.is_finished for run in runs) else []


def counts(store: Path) -> dict[str, tuple[int, int, str]]:
    """Return rows, rejections and fingerprint of every dataset."""
    local = LocalStore(root=str(store))
    found = {}
    for dataset in ("source_qa", "rationales", "rr_dialogues", "orr_dialogues"):
        for source in SOURCES:
            manifest = parts.read_manifest(local, dataset, source)
            assert manifest is not None, f"{dataset} of {source}"
            found[f"{dataset} {source}"] = (manifest.rows, manifest.rejected.total(), manifest.fingerprint)
    return found


def counts_of_one_go(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Return what the same sources come to where nothing is killed."""
    command = shlex.split(f"{sys.executable} -m mmat_dagster materialize orr_dialogues")
    variables = {"MMAT_STORE": str(folder / "whole"), "MMAT_LEDGER": str(folder / "whole.sqlite")}
    subprocess.run(command, cwd=folder, env=clean(variables), check=True, timeout=RUNS_S, stdout=subprocess.DEVNULL)
    return counts(folder / "whole")
