"""A training process on this machine: started, watched, ended, and known again by whoever comes after.

Its lines, and those of every process that it starts, go to a log file of its folder: they outlive both sides, and
nobody has to read them for it to go on. All of its processes carry its folder in their environment (`MARK`), by which
they are found when the one that was started, or the one that started it, is gone.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LOG = "training.log"
MARK = "MMAT_TRAINING_FOLDER"
LOOK_EVERY_S = 0.5
PROCESSES = Path("/proc")
# A line of a progress bar ends like this; the last state of it is the line.
REWIND = "\r"


class TrainingLog:
    """The lines that one attempt adds to the log of its folder."""

    def __init__(self, folder: Path, name: str = LOG) -> None:
        self.path = folder / name
        self._begin = self._shown = self.path.stat().st_size if self.path.exists() else 0

    def show(self) -> None:
        """Write what is new to stderr, which Dagster keeps with the step, and away from a terminal's table."""
        news = self._read(self._shown)
        self._shown += len(news)
        if news:
            sys.stderr.write(news.decode(errors="replace"))
            sys.stderr.flush()

    def tail(self, lines: int) -> str:
        """Return the last lines of this attempt."""
        told = self._read(self._begin).decode(errors="replace").split("\n")
        kept = [line.rstrip(REWIND).rpartition(REWIND)[2].rstrip() for line in told]
        return "\n".join([line for line in kept if line][-lines:])

    def _read(self, offset: int) -> bytes:
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read()


def run_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: TrainingLog,
    watch: Callable[[], None],
    termination_timeout_s: float,
) -> int:
    """Run `command` to its end and return its exit code, below 0 for a signal; `watch` is called again and again.

    Whatever interrupts the waiting reaches the process as SIGINT, and is raised when the process has ended: by itself
    within `termination_timeout_s`, or else killed.
    """
    folder = log.path.parent
    with log.path.open("ab") as written:
        process = subprocess.Popen(  # noqa: S603
            command,
            env={**environment, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal reaches it through us alone
        )
    try:
        while process.poll() is None:
            watch()
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_EVERY_S)
    finally:
        try:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                _await_end(folder, termination_timeout_s, process)
        finally:
            end_marked(folder)
            process.wait()
            log.show()
    return process.returncode


def end_leftovers(folder: Path, termination_timeout_s: float) -> bool:
    """End what still trains in `folder` for somebody who is gone; return whether there was something."""
    found = _marked(folder)
    for pid, parent in found.items():
        if parent not in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
    _await_end(folder, termination_timeout_s)
    end_marked(folder)
    return bool(found)


def _await_end(folder: Path, timeout_s: float, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until no process of the folder is left: a launcher may end before those that it has launched."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (process is None or process.poll() is not None) and not _marked(folder):
            return
        time.sleep(LOOK_EVERY_S / 5)


def end_marked(folder: Path) -> None:
    """Kill whatever runs for `folder`."""
    for pid in _marked(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _marked(folder: Path) -> dict[int, int]:
    """Return the living processes of `folder`, each with its parent's id."""
    return dict(_marked_processes(f"{MARK}={folder}".encode()))


def _marked_processes(mark: bytes) -> Iterator[tuple[int, int]]:
    for place in PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if mark in (place / "environ").read_bytes().split(b"\0"):
                # pid (name) state parent ...: a name may hold spaces and brackets.
                state, parent = (place / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    yield int(place.name), int(parent)
