"""Dagster's UI as a person has it: a webserver of its own on loopback."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
START_S = 300.0
STOP_S = 15.0
RUN_S = 600.0
RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"

INSTANCE = """
telemetry:
  enabled: false
nux:
  enabled: false
# Runs start at once: no queue, and no daemon that looks after it.
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
"""


@contextmanager
def run_webserver(folder: Path, module: str, variables: Mapping[str, str]) -> Iterator[str]:
    """Run Dagster's webserver over `module`, with its history below `folder`; yield its address."""
    home, port = folder / "dagster_home", _free_port()
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE)
    command = [sys.executable, "-m", "dagster_webserver", "-m", module, "-h", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, **variables, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    # A run is a new process, and on a busy machine it may import for longer than the usual minute.
    environment["DAGSTER_GRPC_TIMEOUT_SECONDS"] = str(round(RUN_S))
    environment.pop("DAGSTER_MODULE_NAME", None)
    with (folder / "webserver.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(server, address, folder / "webserver.log")
        yield address
    finally:
        _stop(server)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def wait_for_runs(address: str) -> list[str]:
    """Return how the runs have ended, the newest first, when there are some and all of them have."""
    deadline = time.monotonic() + RUN_S
    while time.monotonic() < deadline:
        found = _asked(address, "POST", "/graphql", json.dumps({"query": RUNS}))
        states = [str(run["status"]) for run in json.loads(found)["data"]["runsOrError"]["results"]]
        if states and ENDED.issuperset(states):
            return states
        time.sleep(1.0)
    raise TimeoutError(f"no run has ended in {RUN_S:g} s")


def _wait_until_up(server: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            _asked(address, "GET", "/server_info")
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise TimeoutError(f"the webserver did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _asked(address: str, method: str, path: str, body: str | None = None) -> bytes:
    with closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=60.0)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """End the server and all that it started: its group."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(STOP_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
