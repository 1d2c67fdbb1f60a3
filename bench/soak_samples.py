"""What a process takes while it runs, sampled from /proc, and whether it takes more and more."""

import csv
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look: `rss_mb`, descriptors and threads of the process itself, `children_mb` of all that it has started.

    `rationales` and `rr_dialogues` count the finished parts of each.
    """

    at_s: float
    rss_mb: float
    descriptors: int
    threads: int
    tasks: int
    children_mb: float
    rationales: int
    rr_dialogues: int


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Looks at the process `pid`, which writes its tasks to `status` and its parts below `store`."""

    pid: int
    status: Path
    store: Path
    begun: float

    def look(self) -> Sample | None:
        """Return a sample; None where the process has ended."""
        memory = rss_mb(self.pid)
        try:
            descriptors, threads = (count_entries(f"/proc/{self.pid}/{name}") for name in ("fd", "task"))
        except (FileNotFoundError, ProcessLookupError):
            return None
        if memory == 0 or descriptors == 0:  # it has ended, and nobody has asked for its exit code yet
            return None
        return Sample(
            at_s=round(time.monotonic() - self.begun, 2),
            rss_mb=round(memory, 2),
            descriptors=descriptors,
            threads=threads,
            tasks=int(self.status.read_text()) if self.status.exists() else 0,
            children_mb=round(sum(map(rss_mb, descendants(self.pid))), 2),
            rationales=count_parts(self.store, "rationales"),
            rr_dialogues=count_parts(self.store, "rr_dialogues"),
        )


def count_entries(folder: str) -> int:
    """Return how many entries a folder has."""
    return sum(1 for _ in Path(folder).iterdir())


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def descendants(pid: int) -> list[int]:
    """Return the processes that `pid` and its descendants have started and that are there."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*children, *(each for child in children for each in descendants(child))]


def count_parts(store: Path, dataset: str) -> int:
    """Return how many parts of a dataset are finished."""
    paths = (store / dataset).glob("*/part-*.parquet")
    return sum(not path.name.endswith(".rejected.parquet") for path in paths)


def by_stage(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of each stage while it went on after its first finished part, and of both together."""
    most = max((sample.rationales for sample in samples), default=0)
    end = max((sample.rr_dialogues for sample in samples), default=0)
    return {
        "rationales": [sample for sample in samples if 0 < sample.rationales < most],
        "rr_dialogues": [sample for sample in samples if 0 < sample.rr_dialogues < end],
        "both": [sample for sample in samples if sample.rationales > 0],
    }


def thirds(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """Return the samples of the first, the second and the last third of the time."""
    length = len(samples) // 3
    return list(samples[:length]), list(samples[length : len(samples) - length]), list(samples[len(samples) - length :])


def average(samples: Sequence[Sample], name: str) -> float:
    """Return the mean of a figure."""
    return float(mean(getattr(sample, name) for sample in samples))


def write_csv(samples: Sequence[Sample], path: Path) -> None:
    """Write the samples, a line each."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)
