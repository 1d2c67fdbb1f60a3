"""A process of its own that builds what a `Job` says, and may be killed while it does.

    python -m tests.teacher_worker '<job as JSON>'      does the job and prints what it has cost, as JSON
    python -m tests.teacher_worker                      does a job for every line, each in a process that it forks

`Worker` runs the second form: what takes seconds, the imports, is done once, and every job still has a process of its
own, with its own ledger, event loop and connections.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# pyarrow asks for pandas at its first table; a fork that is killed soon after would never get over it.
import pandas as pd  # noqa: F401
import pytest

# The chat model's SDK is imported by the first request; every job would do that again.
import resources.chat_batches
import resources.chat_lookup  # noqa: F401
from mmat_dagster.spending import Spending
from tests.teaching import Job, do

# A worker that hangs is ended, and its test fails.
WORKER_S = 600.0
FAILED = 1

_WORKERS = pytest.StashKey[list["Worker"]]()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job ended: what it has cost, or the error that ended it; neither where it was killed."""

    spending: Spending | None
    error: str
    is_killed: bool


class Worker:
    """Does one job at a time, each in a new process."""

    def __init__(self) -> None:
        here = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.teacher_worker"],
            cwd=Path(__file__).parents[1],
            env=here,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._guard = threading.Timer(WORKER_S, self._process.kill)
        self._guard.daemon = True
        self._guard.start()
        self._pid = 0

    def begin(self, job: Job) -> None:
        """Begin a job."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._pid = int(self._hear()["pid"])

    def kill(self) -> None:
        """Kill the process of the job; it may have ended before."""
        os.kill(self._pid, signal.SIGKILL)

    def end(self) -> Ended:
        """Wait until the job has ended."""
        told = self._hear()
        self._let_go()
        spending = Spending(**told["spending"]) if told.get("spending") else None
        return Ended(spending=spending, error=told.get("error", ""), is_killed=told["status"] == -signal.SIGKILL)

    def do(self, job: Job) -> Spending:
        """Do a job and return what it has cost."""
        self.begin(job)
        ended = self.end()
        if ended.spending is None:
            raise AssertionError(f"the job failed: {ended}")
        return ended.spending

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()
        self._guard.cancel()

    def _let_go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the worker is gone")
        told: dict[str, Any] = json.loads(line)
        return told


def hire(config: pytest.Config, count: int) -> list[Worker]:
    """Return so many workers, which serve until pytest ends."""
    if _WORKERS not in config.stash:
        config.stash[_WORKERS] = []
    hired = config.stash[_WORKERS]
    for _ in range(count - len(hired)):
        worker = Worker()
        config.add_cleanup(worker.close)
        hired.append(worker)
    return hired[:count]


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> Worker:
    """Give a test a worker."""
    return hire(request.config, 1)[0]


@pytest.fixture
def workers(request: pytest.FixtureRequest) -> list[Worker]:
    """Give a test two workers."""
    return hire(request.config, 2)


def main(arguments: Sequence[str]) -> int:
    """Do the job that is told, or one for every line of standard input."""
    if arguments:
        told = _do(arguments[0])
        _say(told)
        return FAILED if "error" in told else 0
    for line in sys.stdin:
        _fork(line)
    return 0


def _fork(line: str) -> None:
    """Do a job in a process of its own; say its number, then how it ended, then wait to be let go."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as answer:
            answer.write(json.dumps(_do(line)))
        os._exit(0)
    os.close(writing)
    _say({"pid": pid})
    with os.fdopen(reading) as answer:
        said = answer.read()
    # Its number stays its own until it is let go: whoever kills it kills nobody else.
    status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert status is not None
    _say({"status": -status.si_status if status.si_code == os.CLD_KILLED else 0, **(json.loads(said) if said else {})})
    sys.stdin.readline()
    os.waitpid(pid, 0)


def _do(line: str) -> dict[str, Any]:
    try:
        return {"spending": asdict(do(Job(**json.loads(line))))}
    except Exception as error:  # noqa: BLE001 - told to whoever gave the job
        return {"error": f"{type(error).__name__}: {error}"}


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
