"""Rationale: the teacher reasons towards each answer, turn by turn, with operators and search."""

import dagster as dg

from assets.build import BuildConfig, build
from assets.conditions import MISSING_OR_STALE
from assets.foundation import source_qa
from assets.partitions import OWNERS, SOURCES, TEACHER_POOL
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Pipeline


@dg.asset(
    deps=[source_qa],
    partitions_def=SOURCES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="rationale",
    kinds={"openai", "parquet"},
    pool=TEACHER_POOL,
    owners=OWNERS,
    code_version=code_version("rationales"),
    automation_condition=MISSING_OR_STALE,
)
def rationales(
    context: dg.AssetExecutionContext, config: BuildConfig, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """Multi-turn trajectories: think, call operators (caption, boxes, OCR, faces) and RAG, read, conclude."""
    return build(context, config, pipeline, "rationales")
