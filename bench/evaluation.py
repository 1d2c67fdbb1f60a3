"""What examining a student costs through this project, beside a bare loop that asks the same in the same run.

    python -m bench.evaluation [--questions 1000] [--rounds 3] [--concurrency 16] [--forms direct,rr]

The student is a server on loopback that answers at once, in a process of its own; its CPU is not counted. Every
measurement is a process of its own (bench/evaluation_client.py); ways take turns, the median counts, ratios are of the
two of one round. All must have said the same to the letter, and have the same score.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parents[1]
NAMES = {
    "aiohttp": "bare loop, aiohttp",
    "openai": "bare loop, openai",
    "kept": "bare loop, openai, replies into SQLite",
    "loop": "ours, without ledger",
    "ours": "ours",
    "again": "ours, again from the ledger",
}
FORMS = {"direct": "direct, one request", "rr": "rr, three requests"}
COLUMNS = (
    "form",
    "loop",
    "CPU ms/question",
    "questions/CPU-s",
    "questions/s",
    "CPU : openai",
    "CPU : openai into SQLite",
    "peak MB",
    "MB at start",
)
CHILD_TIMEOUT_S = 300
STOP_S = 10
AIM = 1.3

Measured: TypeAlias = dict[str, Any]


@contextmanager
def serve() -> Iterator[str]:
    """Run the student and yield its URL; it ends with its standard input."""
    command = [sys.executable, "-m", "bench.evaluation_work"]
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


def measure(folder: Path, **job: Any) -> Measured:
    """Measure one way in a process of its own; all but the run "again" begin with empty files of replies."""
    if job["client"] != "again":
        for file in (*folder.glob("ledger.sqlite*"), *folder.glob("replies.sqlite*")):
            if file.is_file():
                file.unlink()
    command = [sys.executable, "-m", "bench.evaluation_client", json.dumps({**job, "folder": str(folder)})]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, cwd=ROOT, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{job['client']}: {done.stderr[-2000:]}")
    measured: Measured = json.loads(done.stdout)
    told = ", ".join(f"{name} {value:,.2f}" for name, value in measured.items() if isinstance(value, float))
    print(f"{job['form']:<6} {job['client']:<8} {told}", file=sys.stderr, flush=True)
    return measured


def measure_form(folder: Path, url: str, form: str, options: argparse.Namespace) -> Iterator[str]:
    """Yield the rows of one form."""
    job = {"url": url, "form": form, "count": options.questions, "concurrency": options.concurrency}
    rounds = [{client: measure(folder, client=client, **job) for client in NAMES} for _ in range(options.rounds)]
    outcomes = {(each["said"], each["right"]) for found in rounds for each in found.values()}
    if len(outcomes) > 1:
        raise RuntimeError(f"not the same was asked, answered or scored: {outcomes}")
    for client in NAMES:
        yield _render(FORMS[form], client, rounds)


def _render(form: str, client: str, rounds: Sequence[dict[str, Measured]]) -> str:
    own = [found[client] for found in rounds]
    cpu_s, wall_s = (median(each[name] / each["questions"] for each in own) for name in ("cpu_s", "wall_s"))
    shares = (median(found[client]["cpu_s"] / found[bare]["cpu_s"] for found in rounds) for bare in ("openai", "kept"))
    told = " | ".join(
        "" if client == bare else f"{share:.2f}" for bare, share in zip(("openai", "kept"), shares, strict=True)
    )
    memory = " | ".join(f"{median(each[name] for each in own):,.0f}" for name in ("peak_mb", "begun_mb"))
    return (
        f"| {form} | {NAMES[client]} | {1000 * cpu_s:.2f} | {1 / cpu_s:,.0f} | {1 / wall_s:,.0f} | {told} | {memory} |"
    )


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=16, help="questions at a time")
    parser.add_argument("--forms", default=",".join(FORMS), help=f"some of {','.join(FORMS)}")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk: the ledger lies there")  # noqa: S108
    options = parser.parse_args()
    options.forms = options.forms.split(",")
    if not {*options.forms} <= {*FORMS}:
        parser.error(f"--forms takes {','.join(FORMS)}")
    return options


def main(options: argparse.Namespace) -> None:
    """Print the table."""
    said = " ".join(["python -m bench.evaluation", *sys.argv[1:]])
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    print(f"Measured on {date.today()} on {machine}, `{said}`: {options.questions:,} questions a form, ", end="")
    print(f"{options.concurrency} at a time, medians of {options.rounds}.")
    print(f"The aim: at most {AIM} times the CPU of the bare loop over the same SDK.\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mmat-bench-") as name, serve() as url:
        for form in options.forms:
            for line in measure_form(Path(name), url, form, options):
                print(line, flush=True)


if __name__ == "__main__":
    main(read_options())
