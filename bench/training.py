"""What this project's training process costs beside a bare TRL script: the same dialogues, student and machine.

    python -m bench.training [--rounds 5] [--steps 60] [--students tiny,writer] [--memory 2000,20000]

`tiny` sees pictures, `writer` is as small and reads text only; `--students smollm2` takes minutes. Both of the first
are so small that a step costs little: what surrounds it weighs more here than it ever will. Each training is a process
of its own with one thread; ours and bare take turns, the median counts, ratios are of the two of one round. Both learn
from the same dialogues in the same order: their tokens must be equal, their mean losses are on standard error. Bare
logs every 10th step, as TRL does by default; ours every one, as it does.

"tokens/CPU-s" and "tokens/s" are of the loop alone, from its 10th step to the last. Start-up is from the process' start
to its first step: the bare one's has the tokens of a text student's dialogues in it, ours the plan.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TypeAlias

from bench.training_work import KINDS, NAMES, make_run
from mmat_dagster.training.spec import PLAN, RUN, dump_run

ROOT = Path(__file__).resolve().parents[1]
RECORDS = 200
STUDENTS, MEMORY = "tiny,writer", "2000,20000"
MEMORY_STEPS = 20
CHILD_TIMEOUT_S = 3600
QUIET = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
}
AIM = 0.95

Measured: TypeAlias = dict[str, float]


def run(module: str, *arguments: str, cache: Path) -> str:
    """Run a module of this folder with one thread and return its last line; `cache` is where datasets keeps its own."""
    command = [sys.executable, "-m", f"bench.{module}", *arguments]
    environment = {**os.environ, **QUIET, "HF_DATASETS_CACHE": str(cache)}
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, cwd=ROOT, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)}: {done.stderr[-2000:]}")
    return (done.stdout.strip().splitlines() or [""])[-1]


def measure(kind: str, folder: Path) -> Measured:
    """Carry out one kind in a process of its own that finds nothing of an earlier one, and return what it took."""
    for made in (PLAN, "checkpoints", "result", "bare", "cache"):
        shutil.rmtree(folder / made, ignore_errors=True)
    told = run("training_loops", kind, str(folder), str(time.time()), cache=folder / "cache")
    measured: Measured = json.loads(told)
    print(
        f"{kind:<7}", ", ".join(f"{name} {value:,.2f}" for name, value in measured.items()), file=sys.stderr, flush=True
    )
    return measured


def prepare(work: Path, student: str, rows: int, steps: int) -> tuple[Path, Measured]:
    """Return the folder of a run, with what the bare script needs, and what its plan took."""
    folder = work / f"{student}-{rows}"
    folder.mkdir()
    (folder / RUN).write_bytes(dump_run(make_run(work, student, rows, steps)))
    return folder, measure("layout", folder)


def measure_speed(work: Path, options: argparse.Namespace) -> Iterator[str]:
    """Yield the rows of the speed table."""
    yield "| student | process | tokens/CPU-s | tokens/s | peak MB | start-up s | of it the plan | start-up CPU-s |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for student in options.students:
        folder, _ = prepare(work, student, RECORDS, options.steps)
        rounds = [(measure("ours", folder), measure("bare", folder)) for _ in range(options.rounds)]
        for ours, bare in rounds:
            assert ours["tokens"] == bare["tokens"], (ours, bare)
        yield from _render_speed(NAMES[student], rounds)


def measure_growth(work: Path, options: argparse.Namespace) -> Iterator[str]:
    """Yield the rows of the table of plan and memory, by the number of dialogues."""
    yield "| dialogues | planned/CPU-s | planned/s | plan MB | our MB | ours : first | bare MB | bare : first |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    first: tuple[float, float] | None = None
    for rows in options.memory:
        folder, plan = prepare(work, "tiny", rows, MEMORY_STEPS)
        ours, bare = (measure(kind, folder)["peak_mb"] for kind in ("ours", "bare"))
        first = first or (ours, bare)
        count = plan["dialogues"]
        paces = (count, count / plan["plan_cpu_s"], count / plan["plan_s"], plan["peak_mb"])
        told = " | ".join(f"{each:,.0f}" for each in paces)
        yield f"| {told} | {ours:,.0f} | {ours / first[0]:.2f} | {bare:,.0f} | {bare / first[1]:.2f} |"


def _render_speed(name: str, rounds: Sequence[tuple[Measured, Measured]]) -> Iterator[str]:
    for number, process in enumerate(("ours", "bare")):
        own = [each[number] for each in rounds]
        rates = (median(each["tokens"] / each[clock] for each in own) for clock in ("cpu_s", "wall_s"))
        told = [f"{rate:,.0f}" for rate in rates] + [f"{median(each['peak_mb'] for each in own):,.0f}"]
        seconds = (median(each[part] for each in own) for part in ("startup_s", "plan_s", "startup_cpu_s"))
        yield f"| {name} | {process} | {' | '.join([*told, *(f'{each:.1f}' for each in seconds)])} |"
    speed = (median(bare[clock] / ours[clock] for ours, bare in rounds) for clock in ("cpu_s", "wall_s"))
    costs = (median(ours[part] / bare[part] for ours, bare in rounds) for part in ("peak_mb", "startup_s"))
    start = median(ours["startup_cpu_s"] / bare["startup_cpu_s"] for ours, bare in rounds)
    cells = " | ".join(f"{each:.2f}" for each in (*speed, *costs))
    yield f"| {name} | **ours : bare** | {cells} | | {start:.2f} |"


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="a multiple of 10, and above it")
    parser.add_argument("--students", default=STUDENTS, help=f"some of {','.join(KINDS)}; '' for none")
    parser.add_argument("--memory", default=MEMORY, help="numbers of dialogues; '' for none")
    options = parser.parse_args()
    options.students = options.students.split(",") if options.students else []
    options.memory = [int(rows) for rows in options.memory.split(",")] if options.memory else []
    if options.steps % 10 or options.steps <= 10 or not {*options.students} <= {*KINDS}:
        parser.error("see --help")
    return options


def main(options: argparse.Namespace) -> None:
    """Print the tables."""
    if find_spec("trl") is None:
        print("bench.training needs what trains: pip install -e '.[train]'")
        return
    said = " ".join(["python -m bench.training", *sys.argv[1:]])
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    print(f"Measured on {date.today()} on {machine}, `{said}`: medians of {options.rounds}, one thread a process.")
    print(f"The aim: tokens/CPU-s of ours : bare at least {AIM}.")
    with tempfile.TemporaryDirectory(prefix="mmat-bench-") as name:
        run("training_work", name, str(RECORDS), cache=Path(name))
        for wanted, table in ((options.students, measure_speed), (options.memory, measure_growth)):
            for number, line in enumerate(table(Path(name), options) if wanted else ()):
                print(line if number else f"\n{line}", flush=True)


if __name__ == "__main__":
    main(read_options())
