"""Dagster's UI as a person has it: a webserver of its own on loopback, and Chromium without a window.

Where no Chromium or no playwright is installed these tests are skipped, or fail if MMAT_REQUIRE_BROWSER is set.
MMAT_CHROMIUM names the browser; MMAT_SCREENSHOTS a folder that keeps what the tests saw.
"""

import http.client
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_S = 300.0
STOP_S = 15.0
# How long a page may take to show what is waited for, on a machine that does other work too.
PATIENCE_MS = 120_000.0
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


def require_browser() -> str:
    """Return the path of Chromium; skip or fail the test where it or playwright is missing."""
    chromium = os.environ.get("MMAT_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    missing = "playwright is not installed" if importlib.util.find_spec("playwright") is None else None
    missing = missing or (None if chromium else f"no Chromium: none of {', '.join(BROWSERS)} is in PATH")
    if missing and os.environ.get("MMAT_REQUIRE_BROWSER"):
        pytest.fail(missing)
    if missing or chromium is None:
        pytest.skip(f"{missing}; MMAT_CHROMIUM may name the browser")
    return chromium


@contextmanager
def open_page(chromium: str, width: int = 1440, height: int = 1000) -> Iterator["Page"]:
    """Yield a page that reaches this machine alone; asking for anything beyond it is an error."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: asked.append(request.url))
        try:
            yield page
        finally:
            browser.close()
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


def keep_screenshot(page: "Page", name: str) -> None:
    """Write what is seen to the folder for screenshots, where there is one."""
    folder = os.environ.get("MMAT_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


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
