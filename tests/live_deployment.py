"""A live deployment as `deploy/` describes it: code server, webserver and daemon on this machine, a real PostgreSQL."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from tests import postgres

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
MONITORING = "poll_interval_seconds: 60"
UP_S, RUNS_S = 180.0, 1200.0
ORIGIN = {"repositoryLocationName": "mmat_dagster", "repositoryName": "__repository__"}
SENSOR_ON = """
mutation ($on: SensorSelector!) {
  startSensor(sensorSelector: $on) { __typename ... on PythonError { message } }
}
"""
SCHEDULE_ON = """
mutation ($on: ScheduleSelector!) {
  startSchedule(scheduleSelector: $on) { __typename ... on PythonError { message } }
}
"""
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def clean(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which nothing is set but what a process needs anyway, and `variables`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **variables}


@contextmanager
def started(service: str, folder: Path, variables: Mapping[str, str], words: Mapping[str, str]) -> Iterator[None]:
    """Run the command of a service of the compose file, some of its words replaced."""
    command = [words.get(word, word) for word in compose()["services"][service]["command"]]
    command[0] = str(Path(sys.executable).parent / command[0])
    with (folder / f"{service}.log").open("ab") as log:
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


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A code server, a webserver and a daemon that run."""

    folder: Path
    web: str
    code: str
    variables: Mapping[str, str]
    words: Mapping[str, str]
    serving: ExitStack

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask the webserver, and return the only answer."""
        (answer,) = ask(self.web, query, **variables).values()
        return answer

    def serve_code(self, **changed: str) -> None:
        """Start the code server, anew where it runs, with settings that have changed; nothing else is started anew."""
        self.serving.close()
        self.serving.enter_context(started("code", self.folder, {**self.variables, **changed}, self.words))
        wait(lambda: is_listening(self.code), UP_S, "the code server")


@contextmanager
def deployment(folder: Path, runs: str, ledger: str, **further: str) -> Iterator[Deployment]:
    """Run the compose file's own commands on this machine, all on loopback."""
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
        serving = services.enter_context(ExitStack())
        live = Deployment(folder=folder, web=web, code=code, variables=variables, words=words, serving=serving)
        live.serve_code()
        services.enter_context(started("webserver", folder, variables, words))
        services.enter_context(started("daemon", folder, variables, words))
        wait(lambda: ask(web, "{ version }"), UP_S, "the webserver")
        yield live


@pytest.fixture
def runs_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a new database for Dagster's runs."""
    url = sa.make_url(postgres.fresh_database(request.config)).set(drivername="postgresql+psycopg2")
    return url.render_as_string(hide_password=False)


def switch_on(live: Deployment, kind: Literal["Sensor", "Schedule"], name: str) -> None:
    """Switch a schedule or a sensor on, as the UI does."""
    mutation = SENSOR_ON if kind == "Sensor" else SCHEDULE_ON
    switched = live.ask(mutation, on={**ORIGIN, f"{kind.lower()}Name": name})
    assert "Error" not in switched["__typename"], switched


def launch(live: Deployment, job: str, partition: str | None, *names: str) -> None:
    """Launch a run of some assets of a job, as the UI does."""
    tags = [{"key": "dagster/partition", "value": partition}] if partition else []
    selector = {**ORIGIN, "jobName": job, "assetSelection": [{"path": [name]} for name in names]}
    params = {"selector": selector, "executionMetadata": {"tags": tags}, "runConfigData": {}}
    launched = live.ask(LAUNCH, params=params)
    assert launched["__typename"] == "LaunchRunSuccess", launched


def ended(instance: dg.DagsterInstance, count: int) -> list[dg.DagsterRun]:
    """Return all runs when there are so many, and all have ended."""
    runs = [*instance.get_runs()]
    return runs if len(runs) == count and all(run.is_finished for run in runs) else []
