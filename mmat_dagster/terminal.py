"""The terminal of the person who started a run."""

import os
import sys
from pathlib import Path
from typing import TextIO

CLEAR = "\033[K"


def open_terminal() -> TextIO | None:
    """Open the terminal of the person who started this run, if somebody did.

    Dagster redirects stderr to its log files for the time of a step, so a bar there would be seen by nobody. A run that
    the UI launched (`dagster api ..`) has a terminal only where `dagster dev` has one, and leaves it alone.
    """
    if sys.argv[1:2] == ["api"] or not os.isatty(0):
        return None
    try:
        return Path("/dev/tty").open("w")
    except OSError:
        return None


def tell(line: str) -> None:
    """Show a line to the person who started this run, above whatever bar stands there; nobody else sees it."""
    terminal = open_terminal()
    if terminal is not None:
        with terminal:
            terminal.write(f"\r{CLEAR}{line}\n")
