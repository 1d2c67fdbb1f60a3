"""The data job and its schedule, the jobs that train and examine."""

from collections.abc import Iterator

import dagster as dg

from assets.checkpoints import orr_checkpoint, rr_checkpoint
from assets.evaluation import benchmark_scores
from assets.foundation import source_qa
from assets.integration import orr_dialogues
from assets.partitions import SOURCES
from assets.rationale import rationales
from assets.reflection import rr_dialogues

data = dg.define_asset_job(
    "data",
    selection=dg.AssetSelection.assets(source_qa, rationales, rr_dialogues, orr_dialogues),
    description="One source from its published files to RR and ORR dialogues.",
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
    description="Every Monday at 03:00 UTC: one run per source. What has not changed is not done again.",
)
def weekly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
    """Ask for one run per source."""
    day = context.scheduled_execution_time.date().isoformat()
    for source in SOURCES.get_partition_keys():
        yield dg.RunRequest(run_key=f"{day} {source}", partition_key=source)
