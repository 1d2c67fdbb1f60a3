"""Parts per second with Ray's workers, one and two of them, beside this process, over the same records in the same run.

    python -m bench.ray [PROBLEMS] [PART_ROWS]        default 2000 100; prints a table

Two stages of TabMWP problems with a chat teacher: the project's own stand-in server, in a process of its own, answers
after 0.2 s, and at most 16 dialogues of a worker are under way at once. Ray's workers start within the first stage,
the second one finds them running. Replies, store and ledger (SQLite) are fresh each time; the parts are compared.
"""

import hashlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from bench.teacher import serve
from mmat_dagster.engine import Engine
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.progress import Progress
from mmat_dagster.schema import DatasetName
from resources.ray_engine import RayEngine
from resources.store import LocalStore
from tests.teaching import Job, make_pipeline, write_problems

DELAY_S = 0.2
CONCURRENCY = 16
STAGES: tuple[DatasetName, ...] = ("rationales", "rr_dialogues")
ROW = "{:<22} {:>12} {:>14} {:>12} {:>14}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The wall seconds of each stage, its parts, and the SHA-256 of all parts together."""

    seconds: dict[DatasetName, float]
    parts: int
    sha256: str


def main(problems: int = 2000, part_rows: int = 100) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, serve(DELAY_S) as url:
        write_problems(Path(folder) / "sources", range(1, problems + 1))
        measured = {
            name: measure(Path(folder) / name.replace(" ", "-"), url, part_rows, workers)
            for name, workers in (("this process", None), ("Ray, one worker", 1), ("Ray, two workers", 2))
        }
    print(f"{date.today()}, {os.cpu_count()} cores, Python {platform.python_version()}; {problems:,} problems")
    print(ROW.format("", "rationales", "parts/s", "rr_dialogues", "parts/s"))
    for name, each in measured.items():
        first, second = (each.seconds[stage] for stage in STAGES)
        print(
            ROW.format(
                name, f"{first:.1f} s", f"{each.parts / first:.2f}", f"{second:.1f} s", f"{each.parts / second:.2f}"
            )
        )
    same = len({each.sha256 for each in measured.values()}) == 1
    print(f"the parts are {'equal' if same else 'NOT EQUAL'}")


def measure(folder: Path, url: str, part_rows: int, workers: int | None) -> Measured:
    """Build both stages into `folder`."""
    os.environ["MMAT_BENCH_JOB"] = job_of(folder, url, part_rows)
    with open_pipeline({}, "none", workers) as pipeline:
        list(pipeline.build("source_qa", "tabmwp", ignore))
        seconds: dict[DatasetName, float] = {}
        for stage in STAGES:
            begun = time.monotonic()
            *_, built = pipeline.build(stage, "tabmwp", ignore)
            seconds[stage] = time.monotonic() - begun
    files = sorted((folder / "store").rglob("*.parquet"))
    sha256 = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return Measured(seconds=seconds, parts=len(built.manifest.parts), sha256=sha256)


def job_of(folder: Path, url: str, part_rows: int) -> str:
    """Return what a worker must know, as one line."""
    return "|".join((str(folder), url, str(part_rows)))


@contextmanager
def open_pipeline(resource_config: Any, run_id: str, workers: int | None = 1) -> Iterator[Pipeline]:  # noqa: ARG001
    """Open the pipeline, here and in Ray's workers."""
    folder, url, part_rows = os.environ["MMAT_BENCH_JOB"].split("|")
    ledger = f"sqlite:///{folder}/ledger.sqlite"
    job = Job(
        sources=str(Path(folder).parent / "sources"),
        store=f"{folder}/store",
        url=url,
        ledger=ledger,
        part_rows=int(part_rows),
        concurrency=CONCURRENCY,
        fields={"concurrency": CONCURRENCY},
        run_id=run_id,
    )
    engine: Engine | None = None
    if workers is not None:
        store = LocalStore(root=job.store)
        engine = RayEngine(store=store, ledger=ledger, pipeline="bench.ray:open_pipeline", parts_at_once=workers)
    yield replace(make_pipeline(job), engine=engine)


def ignore(progress: Progress) -> None:
    """Report to nobody."""


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
