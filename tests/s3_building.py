"""From sources to a release in any store: by a teacher that concludes at once, so that the store is what works.

python -m tests.s3_building SOURCES STORE MIRROR      does it in a process of its own, which may be killed
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dagster_aws.s3 import S3Resource

from mmat_dagster.corpus import write_corpus
from mmat_dagster.interfaces import Reply, Store
from mmat_dagster.pipeline import Pipeline, Settings
from mmat_dagster.progress import Progress
from mmat_dagster.release.plan import Plan, find_data
from mmat_dagster.release.publishing import Release, publish
from mmat_dagster.schema import Rejection, Sample, SourceName, Step, Turn
from mmat_dagster.tools import Operator
from resources.s3_store import S3Store
from tests.fakes import ScriptedTeacher, ToldRetriever

# The first one's images lie beside its records, the second one's come in Parquet.
SOURCES: tuple[SourceName, ...] = ("tabmwp", "the_cauldron")
RECORDS = 12


class ConcludingTeacher(ScriptedTeacher):
    """Ends every dialogue at once."""

    async def next_step(self, sample: Sample, turns: Sequence[Turn], offered: Sequence[Operator]) -> Reply | Rejection:
        return Reply(step=Step(thought=f"It is {sample.answers[0]}.", signal="end"))


def write_sources(folder: Path) -> Path:
    """Write the sources and return their folder."""
    write_corpus(folder, RECORDS, sources=SOURCES)
    return folder


def make_pipeline(sources: Path, store: Store) -> Pipeline:
    """Return the pipeline from the sources to a store."""
    return Pipeline(
        sources=sources,
        store=store,
        teacher=ConcludingTeacher(),
        operators={},
        search=ToldRetriever(),
        settings=Settings(part_rows=4),
    )


def make(sources: Path, store: Store) -> Release:
    """Build all datasets of the sources, and release them."""
    pipeline = make_pipeline(sources, store)
    for source in SOURCES:
        for dataset in ("orr_dialogues", "dialogue_audit"):
            for _ in pipeline.build(dataset, source, _ignore):
                pass
    plan = Plan(store=store, pictures=pipeline.pictures, data=find_data(store))
    return publish(plan, lambda *_: None)[0]


def bucket_store(url: str, mirror: Path) -> S3Store:
    """Return a store in the bucket that the environment leads to."""
    return S3Store(root=url, folder=str(mirror), s3=S3Resource(max_attempts=10))


def _ignore(progress: Progress) -> None:
    """Tell nobody."""


if __name__ == "__main__":
    print("begun", flush=True)
    made = make(Path(sys.argv[1]), bucket_store(sys.argv[2], Path(sys.argv[3])))
    print(made.key, flush=True)
