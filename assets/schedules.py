"""The jobs that make data, train and examine, and the schedule that asks for what is stale."""

from collections.abc import Iterator
from typing import cast

import dagster as dg

from assets.asking import Asking, ask
from assets.audit import dialogue_audit
from assets.checkpoints import orr_checkpoint, rr_checkpoint
from assets.evaluation import benchmark_scores
from assets.foundation import source_qa
from assets.integration import orr_dialogues
from assets.partitions import SOURCES
from assets.rationale import rationales
from assets.reflection import rr_dialogues
from assets.release import dataset_release
from mmat_dagster.pipeline import Pipeline
from mmat_dagster.schema import SourceName
from mmat_dagster.staleness import Patience

MONDAYS = "0 3 * * 1"

data = dg.define_asset_job(
    "data",
    selection=dg.AssetSelection.assets(
        source_qa, rationales, rr_dialogues, orr_dialogues, dialogue_audit, dataset_release
    ),
    description="One source from its published files to audited RR and ORR dialogues, and a release of all sources "
    "that are built.",
)
training = dg.define_asset_job(
    "training",
    selection=dg.AssetSelection.assets(rr_checkpoint, orr_checkpoint),
    description="One mixture's dialogues to an RR and an ORR checkpoint.",
)
evaluation = dg.define_asset_job(
    "evaluation",
    selection=dg.AssetSelection.assets(benchmark_scores),
    description="One mixture's students examined on every benchmark that is there.",
)


def weekly(cron: str = MONDAYS) -> dg.ScheduleDefinition:
    """Return the schedule that asks for what is stale at the times of `cron`, in UTC."""

    @dg.schedule(
        name="weekly",
        job=data,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Mondays at 03:00 UTC, or when MMAT_REBUILD_CRON says: one run for each source of which something "
        "is stale, for that alone. The sensor `stale_release` follows with the release.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext,
        pipeline: dg.ResourceParam[Pipeline],
        patience: dg.ResourceParam[Patience],
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield from _ask_all(context, Asking(instance=context.instance, pipeline=pipeline, patience=patience))

    return schedule


def _ask_all(context: dg.ScheduleEvaluationContext, asking: Asking) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Ask for one run per source, of what is stale by the engine's own keys; say of each other one why not."""
    when = context.scheduled_execution_time.isoformat(timespec="minutes")
    reasons = []
    for key in SOURCES.get_partition_keys():
        asked = ask(asking, cast("SourceName", key))
        if isinstance(asked, str):
            reasons.append(f"{key}: {asked}")
            context.log.info(reasons[-1])
        else:
            selection = [dg.AssetKey(dataset) for dataset in asked]
            yield dg.RunRequest(run_key=f"{when} {key}", partition_key=key, asset_selection=selection)
    if len(reasons) == len(SOURCES.get_partition_keys()):
        yield dg.SkipReason("\n".join(reasons))
