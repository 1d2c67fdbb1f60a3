"""What the five readers cost beside a bare loop of the format's own library over the same files.

    python bench/sources.py [ROWS ...]        default 10000 300000
    python bench/sources.py --only tabmwp 10000

Bare is what anyone would write first: orjson on each line, orjson on the whole of TabMWP's file, the batches of
pyarrow's iter_batches as Python rows. Ours is the reader, records and all; no image file is opened on either side.
Each loop runs in a process of its own, the two in turn; the best of the rounds counts. Rates are of CPU time; peaks are
those of the whole process, its libraries included.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def read_bare(name: SourceName, folder: Path) -> int:
    """Go through the source's files with their format's library; return the rows."""
    if name == "the_cauldron":
        return sum(_count_parquet(path) for path in sorted(folder.glob("*/*.parquet")))
    if name == "tabmwp":
        return _count_object(folder / "problems_train.json")
    lines = {path: _count_lines(path) for path in sorted(folder.rglob("*.jsonl"))}
    return sum(count for path, count in lines.items() if not path.stem.endswith("_withkb"))


def read_ours(name: SourceName, folder: Path) -> int:
    """Go through the source with its reader; return the records and fail where one was rejected."""
    from mmat_dagster.schema import SourceRecord  # noqa: PLC0415
    from mmat_dagster.sources import READERS  # noqa: PLC0415

    rows = 0
    for record in READERS[name].read(folder):
        assert isinstance(record, SourceRecord), record
        rows += "#" not in record.id
    return rows


LOOPS: dict[str, Callable[[SourceName, Path], int]] = {"bare": read_bare, "ours": read_ours}


def _count_lines(path: Path) -> int:
    import orjson  # noqa: PLC0415

    rows = 0
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)
            rows += 1
    return rows


def _count_object(path: Path) -> int:
    import orjson  # noqa: PLC0415

    return sum(1 for _ in orjson.loads(path.read_bytes()).items())


def _count_parquet(path: Path) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415

    with pq.ParquetFile(path) as file:
        return sum(1 for batch in file.iter_batches(use_threads=False) for _ in batch.to_pylist())


def run_loop(kind: str, name: Any, folder: Path) -> None:
    """Run one loop in this process and print what it took."""
    started = time.process_time()
    rows = LOOPS[kind](name, folder)
    cpu_s = time.process_time() - started
    print(rows, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure(kind: str, name: SourceName, folder: Path) -> Cost:
    """Run one loop in a process of its own."""
    command = [sys.executable, "-m", "bench.sources", "--loop", kind, name, str(folder)]
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


def print_reading(names: list[SourceName], sizes: list[int]) -> None:
    """Print the table of readers without a look at the images; `memory` is our peak beside that at the first size."""
    print("Reading, images not opened")
    print(ROW.format(*HEAD))
    for name in names:
        first_peak = 0.0
        for size in sizes:
            with tempfile.TemporaryDirectory() as place:
                WRITERS[name](Path(place), size)
                bare, ours = compare(name, Path(place), ("bare", "ours"))
            first_peak = first_peak or ours.peak_mb
            print(_row(name, bare, ours, first_peak), flush=True)


def _row(name: str, bare: Cost, ours: Cost, first_peak: float) -> str:
    assert bare.rows == ours.rows, (bare, ours)
    rates = [cost.rows / cost.cpu_s for cost in (bare, ours)]
    told = (f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", f"{rates[1] / rates[0]:.2f}")
    peaks = (f"{ours.peak_mb:.0f}", f"{bare.peak_mb:.0f}", f"{ours.peak_mb / first_peak:.2f}")
    return ROW.format(name, ours.rows, *told, *peaks)


def main() -> None:
    """Print the tables, or run one loop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=int, default=[10_000, 300_000])
    parser.add_argument("--only", choices=list(WRITERS), action="append")
    print_reading(*_asked(parser))


def _asked(parser: argparse.ArgumentParser) -> tuple[list[SourceName], list[int]]:
    options = parser.parse_args()
    return options.only or list(WRITERS), options.rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--loop"]:
        run_loop(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
