"""`source_qa` of one source folder, built through the real pipeline, with a limit to the patience of who waits."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mmat_dagster import parts
from mmat_dagster.pipeline import Pipeline, Settings
from mmat_dagster.progress import Progress, Report
from mmat_dagster.schema import Rejection, Sample, SourceName
from mmat_dagster.teachers.annotations import AnnotationsTeacher
from resources.store import LocalStore
from tests.fakes import ToldRetriever

# A hang is none of these: a busy machine has been seen to take half a minute for a second of work.
PATIENCE_S = 300


def ignore(progress: Progress) -> None:
    """Report to nobody."""


class OutOfPatience(BaseException):
    """What was waited for did not end. No OSError: who minds those is not to mind this."""


@contextmanager
def patience(seconds: float = PATIENCE_S) -> Iterator[None]:
    """Fail where the body takes longer than anything here may, be it inside a system call."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise OutOfPatience(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def build_source_qa(
    root: Path, source: SourceName, report: Report = ignore, part_rows: int = 3
) -> tuple[dict[str, Sample], list[Rejection]]:
    """Build `source_qa` of the folder `root`/`source`; return its samples by id, and what was lost."""
    store = LocalStore(root=str(root / "store"))
    work = Pipeline(
        sources=root,
        store=store,
        teacher=AnnotationsTeacher(),
        operators={},
        search=ToldRetriever(),
        settings=Settings(part_rows=part_rows),
    )
    (built,) = work.build("source_qa", source, report)
    samples = list(parts.read_records(store, built.manifest, Sample))
    return {sample.id: sample for sample in samples}, list(parts.read_rejected(store, built.manifest))
