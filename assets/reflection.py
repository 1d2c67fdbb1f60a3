"""Reflection: pretence and skipped calculations are found and corrected; the result are the RR dialogues."""

import dagster as dg

from assets.build import BuildConfig, build
from assets.checks import check_answers, check_wire_form
from assets.partitions import OWNERS, SOURCES
from assets.rationale import rationales
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Pipeline


@dg.asset(
    deps=[rationales],
    partitions_def=SOURCES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="reflection",
    kinds={"openai", "parquet"},
    owners=OWNERS,
    code_version=code_version("rr_dialogues"),
)
def rr_dialogues(
    context: dg.AssetExecutionContext, config: BuildConfig, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """RR dialogues in the wire form: rationale and, where it was lacking, a reflection turn with its correction."""
    return build(context, config, pipeline, "rr_dialogues")


@dg.asset_check(asset=rr_dialogues, partitions_def=SOURCES, description="Every dialogue parses and renders to itself.")
def rr_wire_form_round_trips(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
) -> dg.AssetCheckResult:
    """Parse every RR dialogue of the run's sources and render it again."""
    return check_wire_form(context, pipeline, "rr_dialogues")


@dg.asset_check(asset=rr_dialogues, partitions_def=SOURCES, description="Every dialogue ends with a gold answer.")
def rr_answers_are_gold(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
) -> dg.AssetCheckResult:
    """Compare the last message of every RR dialogue with the gold answers."""
    return check_answers(context, pipeline, "rr_dialogues")
