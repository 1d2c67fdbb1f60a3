"""Reflection: pretence and skipped calculations are found and corrected; the result are the RR dialogues."""

from collections.abc import Iterator

import dagster as dg

from assets.build import BuildConfig, build
from assets.checks import ChecksConfig, check_rr, specs
from assets.conditions import MISSING_OR_STALE
from assets.partitions import OWNERS, SOURCES, TEACHER_POOL
from assets.rationale import rationales
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Pipeline


@dg.asset(
    deps=[rationales],
    partitions_def=SOURCES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="reflection",
    kinds={"openai", "parquet"},
    pool=TEACHER_POOL,
    owners=OWNERS,
    code_version=code_version("rr_dialogues"),
    automation_condition=MISSING_OR_STALE,
)
def rr_dialogues(
    context: dg.AssetExecutionContext, config: BuildConfig, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """RR dialogues in the wire form: rationale and, where it was lacking, a reflection turn with its correction."""
    return build(context, config, pipeline, "rr_dialogues")


@dg.multi_asset_check(specs=specs("rr"), can_subset=True)
def rr_checks(
    context: dg.AssetCheckExecutionContext, config: ChecksConfig, pipeline: dg.ResourceParam[Pipeline]
) -> Iterator[dg.AssetCheckResult]:
    """Look at every RR dialogue of the run's sources once, for all checks."""
    yield from check_rr(context, config, pipeline)
