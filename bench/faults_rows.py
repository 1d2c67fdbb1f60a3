"""A row of the table of faults, and what several of its measurements need."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

HEAD = (
    "| fault | tried | lost | doubled | recovered in | command |",
    "|---|---|---|---|---|---|",
)
# Where a ledger lies on a real disk, as it does in use.
FOLDER = Path("/var/tmp")  # noqa: S108
GLANCE_S = 0.002
PATIENCE_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of a fault: how often it was tried, what was lost, what was paid or written twice, how long it took."""

    fault: str
    tried: str
    lost: str
    doubled: str
    recovered: str

    def render(self, name: str) -> str:
        """Return the row as Markdown; `name` is the measurement's."""
        return f"| {self.fault} | {self.tried} | {self.lost} | {self.doubled} | {self.recovered} | `{name}` |"


@contextmanager
def room() -> Iterator[Path]:
    """Yield a folder for a measurement, and remove it."""
    with TemporaryDirectory(dir=FOLDER, prefix="mmat-faults-") as name:
        yield Path(name)


def wait_for(has_come: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something has come."""
    end = time.monotonic() + patience_s
    while not has_come():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come in {patience_s:g} s")
        time.sleep(GLANCE_S)


def spread(seconds: Sequence[float]) -> str:
    """Tell the middle and the longest of some times."""
    if not seconds:
        return "-"
    if len(seconds) == 1:
        return f"{seconds[0]:.1f} s"
    return f"{median(seconds):.1f} s, at most {max(seconds):.1f} s"
