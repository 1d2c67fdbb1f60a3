"""A server on this machine that speaks the OpenAI protocol: started, waited for, and ended with all that it started.

Its lines go to a log file of its folder. It ends with this process, too, however that ends.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mmat_dagster.training.executor import SERVING_READY, ServingFailed, ServingJob
from resources.model_listing import listed_models
from resources.training_process import MARK, TrainingLog, end_leftovers, end_marked

LOG = "serving.log"
KEEPER = "mmat_dagster.inference.keeper"
LOOK_EVERY_S = 0.1
LOST_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server may take to start and to end, and how many of its last lines are told where it fails."""

    start_s: float
    end_s: float
    tail_lines: int


@contextmanager
def served(job: ServingJob, environment: Mapping[str, str], patience: Patience) -> Iterator[str]:
    """Run a server while the context is open, and give its base URL; raise ServingFailed."""
    folder = Path(job.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    end_leftovers(folder, patience.end_s)
    (folder / SERVING_READY).unlink(missing_ok=True)
    log = TrainingLog(folder, LOG)
    process = _start(job.command, {**environment, MARK: str(folder)}, log)
    try:
        url = _await_ready(job, process, log, patience)
        try:
            yield url
        except Exception as error:
            if not _has_ended(process):
                raise
            raise ServingFailed(_told(job, process.returncode, log, patience, "ended while it was asked")) from error
    finally:
        _end(process, folder, patience.end_s)


def _start(command: Sequence[str], environment: Mapping[str, str], log: TrainingLog) -> subprocess.Popen[bytes]:
    with log.path.open("ab") as written:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", KEEPER, *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal reaches it through us alone
        )


def _await_ready(job: ServingJob, process: subprocess.Popen[bytes], log: TrainingLog, patience: Patience) -> str:
    deadline = time.monotonic() + patience.start_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServingFailed(_told(job, process.returncode, log, patience, "ended before it listened"))
        port = _port(log.path.parent) if job.port is None else job.port
        url = f"http://127.0.0.1:{port}/v1"
        if port is not None and _answers(url):
            return url
        time.sleep(LOOK_EVERY_S)
    raise ServingFailed(_told(job, None, log, patience, f"does not listen after {patience.start_s:g} s"))


def _port(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / SERVING_READY).read_bytes())["port"])
    except FileNotFoundError:
        return None


def _answers(url: str) -> bool:
    try:
        listed_models(url)
    except ServingFailed:
        return False
    return True


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a server has ended: whoever asked it hears so from its connection, a moment before it is gone."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(LOST_S)
    return process.returncode is not None


def _told(job: ServingJob, code: int | None, log: TrainingLog, patience: Patience, what: str) -> str:
    with_code = "" if code is None else f" (exit code {code})"
    tail = log.tail(patience.tail_lines)
    last = f"\n\nThe last lines of {log.path}:\n{tail}" if tail else ""
    return f"The server of {job.name} {what}{with_code}.{last}"


def _end(process: subprocess.Popen[bytes], folder: Path, timeout_s: float) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)
    end_marked(folder)
    process.wait()
