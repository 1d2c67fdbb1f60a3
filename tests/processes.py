"""Other processes, as tests look at them: waited for, there or gone."""

import time
from collections.abc import Callable
from pathlib import Path

GLANCE_S = 0.02


def wait_until(holds: Callable[[], bool], patience_s: float = 120.0) -> None:
    """Wait until something holds; fail where it does not in `patience_s`, which a busy machine may need."""
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, f"it never came to that in {patience_s:g} s"
        time.sleep(GLANCE_S)


def is_alive(pid: int) -> bool:
    """Say whether a process is there, and no mere entry that its parent has not read yet."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
