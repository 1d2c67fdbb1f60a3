"""Integration: every RR dialogue folded into one turn; the result are the ORR dialogues."""

from collections.abc import Iterator

import dagster as dg

from assets.build import BuildConfig, build
from assets.checks import ChecksConfig, check_orr, specs
from assets.conditions import MISSING_OR_STALE
from assets.partitions import OWNERS, SOURCES
from assets.reflection import rr_dialogues
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Pipeline


@dg.asset(
    deps=[rr_dialogues],
    partitions_def=SOURCES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="integration",
    kinds={"python", "parquet"},
    owners=OWNERS,
    code_version=code_version("orr_dialogues"),
    automation_condition=MISSING_OR_STALE,
)
def orr_dialogues(
    context: dg.AssetExecutionContext, config: BuildConfig, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """ORR dialogues in the wire form: operator results in the question, all thoughts and the answer in one reply."""
    return build(context, config, pipeline, "orr_dialogues")


@dg.multi_asset_check(specs=specs("orr"), can_subset=True)
def orr_checks(
    context: dg.AssetCheckExecutionContext, config: ChecksConfig, pipeline: dg.ResourceParam[Pipeline]
) -> Iterator[dg.AssetCheckResult]:
    """Look at every ORR dialogue of the run's sources once, for all checks."""
    yield from check_orr(context, config, pipeline)
