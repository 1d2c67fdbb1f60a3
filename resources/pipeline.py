"""The engine's pipeline as one resource: sources, store, teacher, operators and search put together."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from mmat_dagster import parts
from mmat_dagster.corpus import ensure_corpus
from mmat_dagster.engine import Engine
from mmat_dagster.images import StoredPictures
from mmat_dagster.interfaces import JudgeMaker, OperatorMaker, Store, Teacher
from mmat_dagster.operators.looking import LookFunction
from mmat_dagster.pipeline import Pipeline, Settings
from mmat_dagster.processes import cores
from mmat_dagster.schema import LeakPolicy
from mmat_dagster.stages.rationale import MAX_TURNS, REFLECTION_TURNS
from mmat_dagster.tools import Operator, SearchEngine
from resources.operators import made_over

SAMPLE_RECORDS = 20


class PipelineResource(dg.ConfigurableResource[Pipeline]):
    """Builds datasets from source folders; see the engine's Pipeline."""

    sources: str = Field(description="The folder with one sub-folder per source.")
    is_sample: bool = Field(default=False, description="Fill `sources` with the generated sample corpus first.")
    store: dg.ResourceDependency[Store]
    teacher: dg.ResourceDependency[Teacher]
    operators: dg.ResourceDependency[dict[str, Operator | OperatorMaker]]
    operator_cache: dg.ResourceDependency[LookFunction]
    search: dg.ResourceDependency[SearchEngine]
    judge: dg.ResourceDependency[JudgeMaker]
    engine: dg.ResourceDependency[Engine | None]
    audit_sample: int | None = Field(
        default=None, gt=0, description="So many dialogues of each source are judged by a model; null for all."
    )
    limit: int | None = Field(default=None, description="At most so many records of each source; null for all.")
    allow_non_commercial: bool = Field(
        default=True, description="Keep what may not be used commercially; false leaves it out, each record named."
    )
    verify_images: bool = Field(default=True, description="Decode every image to its last pixel; false: headers only.")
    benchmarks: str | None = Field(
        default=None, description="The folder with one sub-folder per evaluation benchmark; null compares with none."
    )
    leaks: LeakPolicy = Field(default="drop", description="Leave out what gives a benchmark away, or `warn` of it.")
    workers: int | None = Field(default=None, description="Threads that examine images; null for one per core.")
    part_rows: int = Field(default=parts.PART_ROWS, gt=0, description="Rows of a part, the unit never done twice.")
    max_turns: int = Field(
        default=MAX_TURNS,
        gt=REFLECTION_TURNS,
        description="Assistant turns before the answer; two are kept for a reflection.",
    )
    concurrency: int = Field(default=16, gt=0, description="Dialogues under way at once.")

    def create_resource(self, context: dg.InitResourceContext) -> Pipeline:  # noqa: ARG002
        """Return the pipeline; nothing is read or written yet but the sample corpus."""
        sources = Path(self.sources)
        if self.is_sample:
            ensure_corpus(sources, SAMPLE_RECORDS)
        pictures = StoredPictures(source_root=sources, store=self.store)
        return Pipeline(
            sources=sources,
            store=self.store,
            teacher=self.teacher,
            operators={name: made_over(operator, self.teacher) for name, operator in self.operators.items()},
            look=self.operator_cache,
            search=self.search,
            engine=self.engine,
            judge=self.judge.beside(self.teacher, pictures),
            settings=Settings(
                limit=self.limit,
                allow_non_commercial=self.allow_non_commercial,
                verify_images=self.verify_images,
                benchmarks=Path(self.benchmarks) if self.benchmarks else None,
                leaks=self.leaks,
                workers=self.workers or cores(),
                part_rows=self.part_rows,
                max_turns=self.max_turns,
                concurrency=self.concurrency,
                audit_sample=self.audit_sample,
            ),
        )
