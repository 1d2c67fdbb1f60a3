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


@dg.schedule(
    job=data,
    cron_schedule="0 3 * * 1",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every Monday at 03:00 UTC: one run for each source of which something is stale, for that alone. The "
    "sensor `stale_release` follows with the release.",
)
def weekly(
    context: dg.ScheduleEvaluationContext,
    pipeline: dg.ResourceParam[Pipeline],
    patience: dg.ResourceParam[Patience],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Ask for one run per source, of what is stale by the engine's own keys; say of each other one why not."""
    day = context.scheduled_execution_time.date().isoformat()
    asking = Asking(instance=context.instance, pipeline=pipeline, patience=patience)
    reasons = []
    for key in SOURCES.get_partition_keys():
        asked = ask(asking, cast("SourceName", key))
        if isinstance(asked, str):
            reasons.append(f"{key}: {asked}")
            context.log.info(reasons[-1])
        else:
            selection = [dg.AssetKey(dataset) for dataset in asked]
            yield dg.RunRequest(run_key=f"{day} {key}", partition_key=key, asset_selection=selection)
    if len(reasons) == len(SOURCES.get_partition_keys()):
        yield dg.SkipReason("\n".join(reasons))
