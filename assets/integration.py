"""Integration: every RR dialogue folded into one turn; the result are the ORR dialogues."""

import dagster as dg

from assets.build import BuildConfig, build
from assets.checks import check_answers, check_wire_form
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
)
def orr_dialogues(
    context: dg.AssetExecutionContext, config: BuildConfig, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """ORR dialogues in the wire form: operator results in the question, all thoughts and the answer in one reply."""
    return build(context, config, pipeline, "orr_dialogues")


@dg.asset_check(asset=orr_dialogues, partitions_def=SOURCES, description="Every dialogue parses and renders to itself.")
def orr_wire_form_round_trips(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
) -> dg.AssetCheckResult:
    """Parse every ORR dialogue of the run's sources and render it again."""
    return check_wire_form(context, pipeline, "orr_dialogues")


@dg.asset_check(asset=orr_dialogues, partitions_def=SOURCES, description="Every dialogue ends with a gold answer.")
def orr_answers_are_gold(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
) -> dg.AssetCheckResult:
    """Compare the answer of every ORR dialogue with the gold answers."""
    return check_answers(context, pipeline, "orr_dialogues")
