"""What asking the teacher costs through this project, beside bare clients on the same work in the same run.

    python bench/teacher.py [--only a,b,c,d,memory,rate] [--quick] [--repeat 3]        about 12 minutes, prints a table

The server is this project's own stand-in, in a process of its own; its CPU is not counted. Every measurement is a
process of its own (bench/teacher_client.py); clients take turns, the median of `--repeat` counts.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ("aiohttp", "openai", "ours")
NAMES = {"aiohttp": "bare aiohttp", "openai": "bare openai", "ours": "ours", "again": "ours, again from the ledger"}
LOADS = {
    "a": ("one turn, text", {"turns": 1, "has_picture": False}, 2000),
    "b": ("three turns, text", {"turns": 3, "has_picture": False}, 700),
    "c": ("one turn, 100 kB JPEG", {"turns": 1, "has_picture": True}, 2000),
    "d": ("three turns, 100 kB JPEG", {"turns": 3, "has_picture": True}, 700),
}
PARTS = (*LOADS, "memory", "rate")
DELAY_S = 0.2
MEMORY_COUNTS = (2_000, 20_000)
RATE_PER_S, RATE_DELAY_S = 167, 8.0
# How long requests go on to come after the first replies: quick, and in earnest.
RATE_WINDOW_S = (6.0, 22.0)
RATE_CONCURRENCY = 5_000
CHILD_TIMEOUT_S = 180
STOP_S = 10

Measured: TypeAlias = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured how: `quick` is a tenth of the work."""

    only: tuple[str, ...]
    repeat: int
    concurrency: int
    quick: bool
    folder: Path

    def count(self, full: int) -> int:
        """Return how many there are of what the whole benchmark has `full` of."""
        return full // 10 if self.quick else full


@contextmanager
def serve(delay_s: float) -> Iterator[str]:
    """Run the stand-in server and yield its URL; it ends with its standard input."""
    command = [sys.executable, "-m", "tests.teacher_server", "--port", "0", "--delay-s", str(delay_s)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as server:  # noqa: S603
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
            server.stdin.close()
            server.wait(STOP_S)
        finally:
            server.kill()


def run(module: str, argument: str) -> str:
    """Run a module of this folder and return what it printed."""
    command = [sys.executable, "-m", f"bench.{module}", argument]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, cwd=ROOT, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{module} {argument}: {done.stderr[-2000:]}")
    return done.stdout


@contextmanager
def pictures(plan: Plan) -> Iterator[Path]:
    """Yield a folder with the pictures and room for a ledger, and remove it."""
    with tempfile.TemporaryDirectory(dir=plan.folder, prefix="mmat-bench-") as name:
        run("teacher_work", name)
        yield Path(name)


def measure(folder: Path, **job: Any) -> Measured:
    """Measure a client in a process of its own; all but the run "again" begin with an empty ledger."""
    if job["client"] != "again":
        for file in folder.glob("ledger.sqlite*"):
            if file.is_file():
                file.unlink()
    measured: Measured = json.loads(run("teacher_client", json.dumps({**job, "folder": str(folder)})))
    told = ", ".join(f"{name} {value:,.2f}" for name, value in measured.items())
    print(f"{job['client']:<8} {told}", file=sys.stderr, flush=True)
    return measured


def middle(runs: Sequence[Measured]) -> Measured:
    """Return the median of each figure."""
    return {name: median(each[name] for each in runs) for name in runs[0]}


def measure_loads(plan: Plan) -> Iterator[str]:
    """Yield the rows of the closed loops."""
    names = [name for name in LOADS if name in plan.only]
    if not names:
        return
    yield "| work | client | wall s | CPU ms/request | ours : openai | requests/s | peak MB | MB at start |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    with pictures(plan) as folder, serve(DELAY_S) as url:
        for name in names:
            what, load, full = LOADS[name]
            job = {"url": url, "count": plan.count(full), "concurrency": plan.concurrency, **load}
            found = take_turns(plan, folder, NAMES, **job)
            for client in NAMES:
                yield _render_load(f"({name}) {what}", client, found)


def take_turns(plan: Plan, folder: Path, clients: Iterable[str], **job: Any) -> dict[str, Measured]:
    """Return the medians of each client; they take turns, so that a busy minute of the machine falls on all."""
    rounds = [[measure(folder, client=client, **job) for client in clients] for _ in range(plan.repeat)]
    return {client: middle(runs) for client, runs in zip(clients, zip(*rounds, strict=True), strict=True)}


def _render_load(what: str, client: str, found: dict[str, Measured]) -> str:
    own = found[client]
    share = f"{_cpu_per_request(own) / _cpu_per_request(found['openai']):.2f}" if client == "ours" else ""
    return (
        f"| {what} | {NAMES[client]} | {own['wall_s']:.2f} | {1000 * _cpu_per_request(own):.3f} | {share} | "
        f"{own['requests'] / own['wall_s']:,.0f} | {own['peak_mb']:.0f} | {own['begun_mb']:.0f} |"
    )


def measure_memory(plan: Plan) -> Iterator[str]:
    """Yield the rows of the same work at two lengths."""
    if "memory" not in plan.only:
        return
    yield "| ours, one turn, text | peak MB | ratio | CPU ms/request | wall s |"
    yield "|---:|---:|---:|---:|---:|"
    first_mb = 0.0
    with pictures(plan) as folder, serve(DELAY_S) as url:
        for full in MEMORY_COUNTS:
            count = plan.count(full)
            own = measure(folder, client="ours", url=url, count=count, concurrency=plan.concurrency)
            first_mb = first_mb or own["peak_mb"]
            yield (
                f"| {count:,} requests | {own['peak_mb']:.0f} | {own['peak_mb'] / first_mb:.2f} | "
                f"{1000 * _cpu_per_request(own):.3f} | {own['wall_s']:.1f} |"
            )


def measure_rate(plan: Plan) -> Iterator[str]:
    """Yield the rows of the open loop."""
    if "rate" not in plan.only:
        return
    what = f"{RATE_PER_S} requests/s, 100 kB JPEG, replies after {RATE_DELAY_S:g} s"
    yield f"| {what} | share of a core | in flight | peak MB |"
    yield "|---|---:|---:|---:|"
    seconds = RATE_DELAY_S + RATE_WINDOW_S[0 if plan.quick else 1]
    job = {"count": int(RATE_PER_S * seconds), "concurrency": RATE_CONCURRENCY, "has_picture": True}
    with pictures(plan) as folder, serve(RATE_DELAY_S) as url:
        clients = ("openai", "ours")
        found = take_turns(plan, folder, clients, url=url, rate=RATE_PER_S, delay_s=RATE_DELAY_S, **job)
        for client in clients:
            own = found[client]
            share = f"{own['cpu_s'] / own['wall_s']:.0%}"
            yield f"| {NAMES[client]} | {share} | {own['in_flight']:,.0f} | {own['peak_mb']:.0f} |"
        ratio = found["ours"]["cpu_s"] / found["openai"]["cpu_s"]
        yield f"| ours : openai | {ratio:.2f} | | {found['ours']['peak_mb'] / found['openai']['peak_mb']:.2f} |"


def _cpu_per_request(found: Measured) -> float:
    return found["cpu_s"] / found["requests"]


def read_plan() -> Plan:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what asking the teacher costs beside bare clients.")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--repeat", type=int, default=3, help="how often each measurement is made")
    parser.add_argument("--concurrency", type=int, default=100, help="dialogues at a time")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk: the ledger lies there")  # noqa: S108
    options = parser.parse_args()
    only = tuple(options.only.split(","))
    if not set(only) <= set(PARTS):
        parser.error(f"--only takes {','.join(PARTS)}")
    return Plan(
        only=only,
        repeat=options.repeat,
        concurrency=options.concurrency,
        quick=options.quick,
        folder=options.folder,
    )


def main(plan: Plan) -> None:
    """Print the tables."""
    python, cores = platform.python_version(), os.cpu_count()
    said = " ".join(sys.argv[1:])
    print(f"Measured on {date.today()} on {cores} cores ({platform.machine()}), Python {python}, ", end="")
    print(
        f"`python bench/teacher.py{' ' if said else ''}{said}`: medians of {plan.repeat}, {plan.concurrency} at a time."
    )
    for part in (measure_loads, measure_memory, measure_rate):
        for number, line in enumerate(part(plan)):
            print(line if number else f"\n{line}", flush=True)


if __name__ == "__main__":
    main(read_plan())
