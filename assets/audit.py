"""Audit: every RR dialogue gets a score and a reason, from the deterministic checks or from a judge."""

from typing import Any

import dagster as dg
from pydantic import Field

from assets.audit_metadata import describe_audit
from assets.build import BuildConfig, build
from assets.conditions import STALE
from assets.partitions import OWNERS, SOURCES, TEACHER_POOL
from assets.reflection import rr_dialogues
from mmat_dagster.datasets import code_version
from mmat_dagster.pipeline import Built, Pipeline


class AuditConfig(BuildConfig):
    """How an audit is built, and told."""

    high_quality: float = Field(
        default=0.7,
        ge=0.0,
        le=1.0,
        description="From which score a dialogue counts as one of high quality; changes what is told, not the audit.",
    )

    def describe(self, pipeline: Pipeline, built: Built) -> dict[str, Any]:
        """Return what the UI shows of the audit, or of what it stands on."""
        if built.manifest.dataset != "dialogue_audit":
            return super().describe(pipeline, built)
        return describe_audit(pipeline, built, self.high_quality)


@dg.asset(
    deps=[rr_dialogues],
    partitions_def=SOURCES,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="audit",
    kinds={"openai", "parquet"},
    pool=TEACHER_POOL,
    owners=OWNERS,
    code_version=code_version("dialogue_audit"),
    automation_condition=STALE,
)
def dialogue_audit(
    context: dg.AssetExecutionContext, config: AuditConfig, pipeline: dg.ResourceParam[Pipeline]
) -> dg.MaterializeResult[None]:
    """Score, reason and findings of every RR dialogue: by deterministic checks, and by a model where one is to judge.

    Who judges says `MMAT_JUDGE`; `MMAT_AUDIT_SAMPLE` has so many dialogues of each source judged by it.
    """
    return build(context, config, pipeline, "dialogue_audit")
