"""What the five readers cost beside a bare loop of the format's own library over the same files.

    python -m bench.sources [ROWS ...]        default 10000 300000
    python -m bench.sources --only tabmwp 10000

Bare is what anyone would write first: orjson on each line, orjson on the whole of TabMWP's file, the batches of
pyarrow's iter_batches as Python rows. Ours is the reader, records and all; no image file is opened on either side.
Each loop runs in a process of its own, the two in turn; the best of the rounds counts. Rates are of CPU time, imports
not counted; peaks are those of the whole process, its libraries included.

The second table is of whole samples, over pictures that the project's own generator draws. Bare reads a record and the
bytes of its image and hashes them, for every record anew; ours hashes all files for the source's state, reads headers,
looks for duplicates and writes Parquet. Verified decodes every image; its rates by the clock are on 1 and 2 threads.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.source_rows import WRITERS
from mmat_dagster.corpus import Work, write_corpus
from mmat_dagster.processes import cores
from mmat_dagster.schema import SourceName

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
HEAD = ("reader", "rows", "bare rows/s", "our rows/s", "ratio", "our MB", "bare MB", "memory")
IMAGE_LOOPS = ("bare hashed", "not verified", "verified 1", "verified 2")
IMAGE_HEAD = ("source", "records", "bare/s", "ours/s", "ratio", "verified/s", "clock, 1", "clock, 2", "MB")
IMAGE_ROW = "{:<13}{:>8}{:>9}{:>9}{:>7}{:>12}{:>10}{:>10}{:>6}"
ROW = "{:<13}{:>8}{:>13}{:>12}{:>7}{:>8}{:>9}{:>8}"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one loop over a source took."""

    rows: int
    cpu_s: float
    wall_s: float
    peak_mb: float


def measure(kind: str, name: SourceName, folder: Path) -> Cost:
    """Run one loop in a process of its own."""
    command = [sys.executable, "-m", "bench.source_loops", kind, name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    rows, cpu_s, wall_s, peak_mb = done.stdout.split()
    return Cost(rows=int(rows), cpu_s=float(cpu_s), wall_s=float(wall_s), peak_mb=float(peak_mb))


def compare(name: SourceName, folder: Path, kinds: Sequence[str]) -> list[Cost]:
    """Run loops in turn; return the best of each, in time and in peak."""
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind in kinds:
            costs[kind].append(measure(kind, name, folder))
    return [_best(costs[kind]) for kind in kinds]


def _best(costs: list[Cost]) -> Cost:
    (rows,) = {cost.rows for cost in costs}
    cpu_s, wall_s, peak_mb = (min(each) for each in zip(*((c.cpu_s, c.wall_s, c.peak_mb) for c in costs), strict=True))
    return Cost(rows=rows, cpu_s=cpu_s, wall_s=wall_s, peak_mb=peak_mb)


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


def print_images(names: list[SourceName], records: int) -> None:
    """Print what samples cost, images included, beside a bare loop that reads and hashes them."""
    print(f"Samples of {records:,} generated records, images included")
    print(IMAGE_ROW.format(*IMAGE_HEAD))
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            write_corpus(Path(place), records=records, sources=[name], work=Work(workers=cores()))
            bare, plain, one, two = compare(name, Path(place) / name, IMAGE_LOOPS)
        per_cpu_s = [cost.rows / cost.cpu_s for cost in (bare, plain, one)]
        told = (f"{per_cpu_s[0]:,.0f}", f"{per_cpu_s[1]:,.0f}", f"{per_cpu_s[1] / per_cpu_s[0]:.2f}")
        verified = (f"{per_cpu_s[2]:,.0f}", f"{one.rows / one.wall_s:,.0f}", f"{two.rows / two.wall_s:,.0f}")
        print(IMAGE_ROW.format(name, plain.rows, *told, *verified, f"{two.peak_mb:.0f}"), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", type=int, default=[10_000, 300_000])
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="records of the second table; 0: none")
    parser.add_argument("--only", choices=list(WRITERS), action="append")
    options = parser.parse_args()
    print_table("Reading, images not opened", ("bare", "ours"), options.only or list(WRITERS), options.rows)
    if options.images:
        print()
        print_images(options.only or list(WRITERS), options.images)


if __name__ == "__main__":
    main()
