"""The processes of this program: how many there may be, that none outlives its parent, and how one is ended."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WATCH_EVERY_S = 1.0


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def end_with_parent() -> None:
    """End this process, which multiprocessing has started, as soon as its parent is gone."""
    threading.Thread(target=_watch_parent, daemon=True).start()


def end_with_launcher() -> None:
    """End this process as soon as whoever has started it is gone."""
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
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
