"""The processes of this program: how many, that none outlives its parent, how one is ended, and what none is told."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

WATCH_EVERY_S = 1.0
# The variable that names the process which a training ends with: whoever keeps it may be killed without a word.
KEEPER = "MMAT_TRAINING_KEEPER"
# Whoever trains, serves, looks at images or fills an index asks nobody who wants these. HF_TOKEN is not among them: it
# is what weights are fetched with.
SECRETS = (
    "OPENAI_API_KEY",
    "GOOGLE_API_KEY",
    "MMAT_JUDGE_KEY",
    "MMAT_STUDENT_KEY",
    "MMAT_OPERATOR_TOKEN",
    "MMAT_LEDGER",
    "MMAT_OPERATOR_CACHE",
    "MMAT_DAGSTER_DB",
    "MMAT_SLACK_TOKEN",
    "RAY_AUTH_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def without_secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that needs no secret of this one."""
    return {name: value for name, value in variables.items() if name not in SECRETS}


def forget_secrets() -> None:
    """Take the secrets out of this process's environment, before it imports what others have written."""
    for name in SECRETS:
        os.environ.pop(name, None)


def end_with_parent() -> None:
    """End this process, which multiprocessing has started, as soon as its parent is gone."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def end_with_launcher() -> None:
    """End this process as soon as whoever has started it is gone."""
    launcher = os.getppid()
    _end_when(lambda: os.getppid() != launcher)


def end_with(process: int) -> None:
    """End this process as soon as the one with the id `process` is gone, which need not have started it itself."""
    _end_when(lambda: not Path(f"/proc/{process}").exists())


def _end_when(holds: Callable[[], bool]) -> None:
    def watch() -> None:
        while not holds():
            time.sleep(WATCH_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def terminable() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C during a block: both are to clean up."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _watch_parent() -> None:
    # Asked of multiprocessing, not of the kernel: a parent that died before this line would not be told apart.
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive() and os.getppid() == parent.pid:
        parent.join(WATCH_EVERY_S)
    os._exit(1)
