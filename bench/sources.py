"""What the five readers cost beside a bare loop of the format's own library over the same files.

    python -m bench.sources [ROWS ...]        default 10000 300000
    python -m bench.sources --only tabmwp 10000

Bare is what anyone would write first: orjson on each line, orjson on the whole of TabMWP's file, the batches of
pyarrow's iter_batches as Python rows. Ours is the reader, records and all; no image file is opened on either side.
Each loop runs in a process of its own, the two in turn; the best of the rounds counts. Rates are of CPU time, imports
not counted; peaks are those of the whole process, its libraries included.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.source_rows import WRITERS
from mmat_dagster.schema import SourceName

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
HEAD = ("reader", "rows", "bare rows/s", "our rows/s", "ratio", "our MB", "bare MB", "memory")
ROW = "{:<13}{:>8}{:>13}{:>12}{:>7}{:>8}{:>9}{:>8}"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one loop over a source took."""

    rows: int
    cpu_s: float
    peak_mb: float


def measure(kind: str, name: SourceName, folder: Path) -> Cost:
    """Run one loop in a process of its own."""
    command = [sys.executable, "-m", "bench.source_loops", kind, name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    rows, cpu_s, peak_mb = done.stdout.split()
    return Cost(rows=int(rows), cpu_s=float(cpu_s), peak_mb=float(peak_mb))


def compare(name: SourceName, folder: Path, kinds: tuple[str, str]) -> tuple[Cost, Cost]:
    """Run two loops in turn; return the best of each, in CPU time and in peak."""
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind in kinds:
            costs[kind].append(measure(kind, name, folder))
    first, second = (_best(costs[kind]) for kind in kinds)
    return first, second


def _best(costs: list[Cost]) -> Cost:
    (rows,) = {cost.rows for cost in costs}
    return Cost(rows=rows, cpu_s=min(one.cpu_s for one in costs), peak_mb=min(one.peak_mb for one in costs))


def print_table(title: str, kinds: tuple[str, str], names: list[SourceName], sizes: list[int]) -> None:
    """Print two of the loops side by side; `memory` is our peak beside that at the first size."""
    print(title)
    print(ROW.format(*HEAD))
    for name in names:
        first_peak = 0.0
        for size in sizes:
            with tempfile.TemporaryDirectory() as place:
                WRITERS[name](Path(place), size)
                bare, ours = compare(name, Path(place), kinds)
            first_peak = first_peak or ours.peak_mb
            print(_row(name, bare, ours, first_peak), flush=True)


def _row(name: str, bare: Cost, ours: Cost, first_peak: float) -> str:
    assert bare.rows == ours.rows, (bare, ours)
    rates = [cost.rows / cost.cpu_s for cost in (bare, ours)]
    told = (f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", f"{rates[1] / rates[0]:.2f}")
    peaks = (f"{ours.peak_mb:.0f}", f"{bare.peak_mb:.0f}", f"{ours.peak_mb / first_peak:.2f}")
    return ROW.format(name, ours.rows, *told, *peaks)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=int, default=[10_000, 300_000])
    parser.add_argument("--only", choices=list(WRITERS), action="append")
    options = parser.parse_args()
    print_table("Reading, images not opened", ("bare", "ours"), options.only or list(WRITERS), options.rows)


if __name__ == "__main__":
    main()
