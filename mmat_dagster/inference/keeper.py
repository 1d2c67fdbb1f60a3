"""Runs a server that knows nothing of its launcher, and ends it with it: `python -m mmat_dagster.inference.keeper CMD`.

A server may hold a GPU for as long as it lives. Whoever has started it may be killed, and then nobody would end it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

LOOK_EVERY_S = 0.5
# Then it is killed, with all that it has started.
GRACE_S = 20.0


def keep(command: Sequence[str]) -> int:
    """Run `command` until it ends, a signal asks for its end, or the launcher is gone; return its exit code."""
    launcher, is_asked = os.getppid(), False

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal is_asked
        is_asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    while process.poll() is None and not is_asked and os.getppid() == launcher:
        time.sleep(LOOK_EVERY_S / 5)
    return _end(process)


def _end(process: subprocess.Popen[bytes]) -> int:
    """End what is left of the server's session."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


if __name__ == "__main__":
    code = keep(sys.argv[1:])
    sys.exit(code if code >= 0 else 128 - code)
