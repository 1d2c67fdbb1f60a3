"""A soak: many dialogues from a provider with faults; does the program grow, lose anything, or pay anything twice?

    python -m bench.soak [--dialogues 30000] [--part-rows 5000] [--ledger postgresql://...]

The program is `python -m mmat_dagster materialize rr_dialogues` as it is, with the `gpt4o` teacher and real OCR, in a
process of its own (bench/soak_program.py); the provider is this project's stand-in, in another (bench/soak_server.py).
Once a second the program's memory, descriptors, threads and pending tasks are sampled. No time is measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from bench.soak_samples import Sample, Watch, average, by_stage, thirds, write_csv
from bench.soak_server import Bill
from bench.stages import write_source
from mmat_dagster import parts
from mmat_dagster.ledger import tables
from mmat_dagster.ledger.accounts import Account
from mmat_dagster.ledger.database import ledger_url
from mmat_dagster.ledger.ledger import Ledger
from mmat_dagster.parts import PART_ROWS
from mmat_dagster.schema import DatasetName
from resources.store import LocalStore

ROOT = Path(__file__).resolve().parents[1]
DATASETS: tuple[DatasetName, ...] = ("source_qa", "rationales", "rr_dialogues")
OPERATORS = "label_bbox=off,face_detection=off,image_caption=off"
FIGURES = ("rss_mb", "children_mb", "descriptors", "threads", "tasks")
PICTURES = 5
TIMEOUT_S = 10.0
EVERY_S = 1.0
STOP_S = 30.0
OK = 200


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is asked for, of what size a part is, and where everything lies."""

    dialogues: int
    folder: Path
    ledger: str
    part_rows: int = PART_ROWS
    concurrency: int = 64
    operators: str = OPERATORS
    seed: int = 0
    timeout_s: float = TIMEOUT_S
    every_s: float = EVERY_S

    @property
    def store(self) -> Path:
        """The folder of the program's store."""
        return self.folder / "store"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the program holds afterwards: dialogues, rejections by reason, replies, and what it says that it paid."""

    accepted: int
    rejected: Counter[str]
    replies: int
    account: Account


@dataclass(frozen=True, kw_only=True)
class Soaked:
    """What came of a soak."""

    plan: Plan
    samples: list[Sample]
    bill: Bill
    kept: Kept

    @property
    def unaccounted(self) -> int:
        """The dialogues that are neither kept nor named."""
        return self.plan.dialogues - self.kept.accepted - self.kept.rejected.total()

    @property
    def lost(self) -> int:
        """The replies that were sent whole and are not in the ledger."""
        return self.bill.sent_whole - self.kept.replies


def soak(plan: Plan) -> Soaked:
    """Write the source, run server and program, and return what came of it."""
    write_source(plan.folder / "sources", plan.dialogues, PICTURES)
    with serve(plan.seed) as (url, close):
        samples = run_program(plan, url)
        bill = close()
    return Soaked(plan=plan, samples=samples, bill=bill, kept=read_kept(plan))


class _Closer:
    """Ends the server and reads its bill."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server

    def __call__(self) -> Bill:
        told, _ = self._server.communicate(timeout=STOP_S)
        return Bill(**json.loads(told)["bill"])


@contextmanager
def serve(seed: int) -> Iterator[tuple[str, _Closer]]:
    """Run the provider; yield its URL, and what ends it and returns its bill."""
    command = [sys.executable, "-m", "bench.soak_server", str(seed)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as server:  # noqa: S603
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip(), _Closer(server)
        finally:
            server.kill()


def run_program(plan: Plan, url: str) -> list[Sample]:
    """Run the program to its end and return the samples; what it says goes to a file."""
    status, home = plan.folder / "status", plan.folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    words = ["materialize", DATASETS[-1], "--source", "tabmwp"]
    command = [sys.executable, "-m", "bench.soak_program", str(status), *words]
    with (plan.folder / "log").open("w") as log, start(command, environment(plan, url), log) as program:
        watch = Watch(pid=program.pid, status=status, store=plan.store, begun=time.monotonic())
        samples = list(look_until_the_end(program, watch, plan.every_s))
    if program.returncode:
        raise RuntimeError(f"the program ended with {program.returncode}: {(plan.folder / 'log').read_text()[-3000:]}")
    return samples


@contextmanager
def start(command: list[str], variables: dict[str, str], log: IO[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command, which ends with the block."""
    with subprocess.Popen(command, env=variables, stdout=log, stderr=log, cwd=ROOT) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.kill()


def environment(plan: Plan, url: str) -> dict[str, str]:
    """Return the program's environment."""
    return {
        "PATH": os.environ["PATH"],
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "DAGSTER_HOME": str(plan.folder / "home"),
        "MMAT_SOURCES": str(plan.folder / "sources"),
        "MMAT_STORE": str(plan.store),
        "MMAT_LEDGER": plan.ledger,
        "MMAT_TEACHER": "gpt4o",
        "MMAT_MODEL": "scripted",
        "MMAT_OPERATORS": plan.operators,
        "MMAT_WORKERS": "1",
        "MMAT_CONCURRENCY": str(plan.concurrency),
        "MMAT_TIMEOUT_S": str(plan.timeout_s),
        "MMAT_PART_ROWS": str(plan.part_rows),
        "OPENAI_API_KEY": "sk-of-the-bench",
        "OPENAI_BASE_URL": url,
    }


def look_until_the_end(program: "subprocess.Popen[bytes]", watch: Watch, every_s: float) -> Iterator[Sample]:
    """Yield a sample every so often until the program has ended."""
    while program.poll() is None:
        sample = watch.look()
        if sample is not None:
            yield sample
        time.sleep(every_s)


def read_kept(plan: Plan) -> Kept:
    """Read what the program has kept."""
    store = LocalStore(root=str(plan.store))
    manifests = [parts.read_manifest(store, dataset, "tabmwp") for dataset in DATASETS]
    rejected = sum((each.rejected for each in manifests if each), Counter[str]())
    last = manifests[-1]
    ledger = Ledger(ledger_url(plan.ledger))
    try:
        with ledger.database.read() as connection:
            counted = sa.select(sa.func.count()).select_from(tables.replies).where(tables.replies.c.status == OK)
            replies = connection.execute(counted).scalar_one()
        return Kept(accepted=last.rows if last else 0, rejected=rejected, replies=replies, account=ledger.account())
    finally:
        ledger.close()


def render(soaked: Soaked) -> Iterator[str]:
    """Yield the lines of the report."""
    yield from _render_memory(soaked.samples)
    yield ""
    yield from _render_dialogues(soaked)
    yield ""
    yield from _render_calls(soaked)


def _render_memory(samples: list[Sample]) -> Iterator[str]:
    yield f"{len(samples):,} samples in {samples[-1].at_s:,.0f} s; means of the first, the second and the last third,"
    yield "each stage from its first finished part on (until then the heap grows to what a part of it takes):"
    yield f"{'':<32} {'first':>10} {'second':>10} {'last':>10} {'last : first':>13} {'highest':>10}"
    for stage, settled in by_stage(samples).items():
        for name in FIGURES if len(settled) >= 3 else ():
            first, middle, last = (average(third, name) for third in thirds(settled))
            ratio = f"{last / first:.3f}" if first else "-"
            highest = max(getattr(sample, name) for sample in settled)
            means = f"{first:>10,.1f} {middle:>10,.1f} {last:>10,.1f}"
            yield f"{stage:<19} {name:<12} {means} {ratio:>13} {highest:>10,.1f}"


def _render_dialogues(soaked: Soaked) -> Iterator[str]:
    kept = soaked.kept
    rejected = kept.rejected.total()
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in kept.rejected.most_common())
    yield f"dialogues    {soaked.plan.dialogues:,} asked for = {kept.accepted:,} accepted + {rejected:,} rejected"
    yield f"             ({reasons}); unaccounted for: {soaked.unaccounted:,}"


def _render_calls(soaked: Soaked) -> Iterator[str]:
    bill, kept = soaked.bill, soaked.kept
    account = kept.account
    yield f"provider     {bill.charged:,} completions charged for {bill.requests:,} requests: {bill.sent_whole:,} sent"
    yield f"             whole, {bill.broken_off:,} broken off by itself, {bill.unseen:,} others that nobody waited for"
    yield f"ledger       {kept.replies:,} replies, {account.calls:,} calls paid, {account.lost_calls:,} lost in flight"
    yield f"lost         {soaked.lost:,} replies that were sent whole and are not in the ledger"
    yield f"paid twice   {bill.doubled:,} requests that were sent whole more than once"
    yield f"faults       {', '.join(f'{count:,} {name}' for name, count in bill.faults.items())}"


def main() -> None:
    """Read the command line, soak, and print what came of it."""
    parser = argparse.ArgumentParser(description="Run many dialogues through a provider with faults.")
    parser.add_argument("--dialogues", type=int, default=30_000)
    parser.add_argument("--concurrency", type=int, default=64, help="dialogues and requests under way at once")
    parser.add_argument("--part-rows", type=int, default=PART_ROWS, help="dialogues of a part, which memory holds")
    parser.add_argument("--ledger", help="postgresql://...; default an SQLite file")
    parser.add_argument("--csv", type=Path, default=Path("soak.csv"), help="where the samples go")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a real disk")  # noqa: S108
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mmat-soak-") as name:
        plan = Plan(
            dialogues=options.dialogues,
            folder=Path(name),
            ledger=options.ledger or f"{name}/ledger.sqlite",
            part_rows=options.part_rows,
            concurrency=options.concurrency,
        )
        soaked = soak(plan)
    write_csv(soaked.samples, options.csv)
    print(f"Measured on {date.today()} on {os.cpu_count()} cores, `python -m bench.soak {' '.join(sys.argv[1:])}`\n")
    print("\n".join(render(soaked)))


if __name__ == "__main__":
    main()
